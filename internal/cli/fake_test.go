package cli_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/receipt"
	"atoll/internal/tlog"
)

// fake is a hub that has always done the same task, for the account acme.
type fake struct {
	url   string
	close func()

	mu   sync.Mutex
	body string // of the last POST
}

var (
	taskID   = core.TaskID(77)
	failedID = core.TaskID(78)
	stuckID  = core.TaskID(79) // never ends
	leaseID  = core.LeaseID(1_000_000)
	then     = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	result   = []byte("{\"label\":\"card_lost\"}\n")
)

func newFake() *fake {
	f := &fake{}
	mux := http.NewServeMux()
	f.reads(mux)
	f.writes(mux)
	srv := httptest.NewServer(f.guard(mux))
	f.url, f.close = srv.URL, srv.Close
	return f
}

func (f *fake) lastBody() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.body
}

// Keys besides atl_key_test.
const (
	strangerKey = "atl_key_stranger" // an account without nodes, and an operator of two accounts
	nodeKey     = "atl_key_node"     // of paris-1, which may see itself alone
)

// guard knows these keys and remembers what was posted.
func (f *fake) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Authorization") {
		case "Bearer atl_key_test", "Bearer " + strangerKey, "Bearer " + nodeKey:
		default:
			refuse(w, 401, "the API key is not known", "")
			return
		}
		if r.Method == http.MethodPost {
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(b))
			f.mu.Lock()
			f.body = string(b)
			f.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, detail, hint string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Title: http.StatusText(status), Status: status, Detail: detail, Hint: hint, RequestID: "req-1"})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func rows[T any](v ...T) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { reply(w, api.List[T]{Object: "list", Data: v}) }
}

func task(state string) api.Task {
	end := then.Add(1500 * time.Millisecond)
	return api.Task{
		ID: taskID, Account: "acme", State: state, Reason: "all 2 parts done", Model: "triage@1", ModelDigest: core.DigestOf([]byte("model")), CreatedAt: then, EndedAt: &end,
		Parts: api.PartCounts{Total: 2, Succeeded: 2, Short: 1, Moved: 1}, Cost: api.Cost{Max: core.Credit, Paid: 60_000, Refunded: 940_000},
		NotChosen: []api.NotChosen{{Node: "ohio-1", Owner: "erin", Reason: "residency EU: \x1b[31mthe node is in US"}},
	}
}

func (f *fake) reads(mux *http.ServeMux) {
	one, failed, stuck := "/v1/tasks/"+taskID.String(), "/v1/tasks/"+failedID.String(), "/v1/tasks/"+stuckID.String()
	mux.HandleFunc("GET /v1/tasks", rows(task("succeeded")))
	mux.HandleFunc("GET "+one, func(w http.ResponseWriter, _ *http.Request) { reply(w, task("succeeded")) })
	mux.HandleFunc("GET /v1/tasks/{id}", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, "no such task", "") })
	mux.HandleFunc("GET "+one+"/parts", rows(api.Part{Index: 0, State: "succeeded", Leases: 3, InputSize: 2048, ResultDigest: core.DigestOf(result)}, api.Part{Index: 1, State: "running", Leases: 1}))
	mux.HandleFunc("GET "+one+"/leases", rows(api.Lease{ID: leaseID, Task: taskID, Attempt: 1, Node: "paris-1", Owner: "alice", State: "passed", Price: 30_000, Pay: 30_000, ResultDigest: core.DigestOf(result)}))
	mux.HandleFunc("GET "+one+"/receipts", rows(api.ReceiptRef{Lease: leaseID, Node: "paris-1", State: "passed", LogIndex: 4, ResultDigest: core.DigestOf(result), Verdict: "x"}))
	mux.HandleFunc("GET "+one+"/result", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(result) })
	mux.HandleFunc("GET "+failed+"/result", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 409, "the task is failed: no two agree", "see why with GET "+failed+"/events; parts that succeeded keep their results: ask with ?part=N")
	})
	mux.HandleFunc("GET "+stuck+"/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("GET "+one+"/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i, typ := range []string{"task.queued", "part.succeeded", "task.succeeded"} {
			b, _ := json.Marshal(api.Event{ID: int64(i + 1), Time: then, Type: typ, Message: "as it should"})
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i+1, b)
		}
	})
	mux.HandleFunc("GET /v1/market/offers", func(w http.ResponseWriter, r *http.Request) {
		o := api.Offer{Node: "paris-1", Owner: "alice", Price: 30_000, Country: "FR", Engines: []string{"text", "wasm"}, Loaded: []string{"triage@3"}, Reliability: 0.83, ReliabilityP5: 0.5, P50Ms: 12, Free: 3}
		o.Region = r.URL.Query().Get("sort") // to be seen
		rows(o)(w, r)
	})
	paris := api.Node{ID: "paris-1", Owner: "alice", State: "up", Country: "FR", Price: 30_000, Engines: []string{"text"}, Platform: "linux/amd64", CPUMillis: 2000, Memory: 1 << 30,
		Reliability: 0.83, Passed: 5, Rejected: 1, Earned: 150_000, JoinedAt: then, SeenAt: &then, PublicKey: "key", Sandbox: []string{"seccomp"}}
	mux.HandleFunc("GET /v1/nodes", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("Authorization"), strangerKey) {
			rows[api.Node]()(w, r)
			return
		}
		rows(paris)(w, r)
	})
	mux.HandleFunc("GET /v1/node", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("Authorization"), nodeKey) {
			refuse(w, 403, "the key does not have the scope node", "")
			return
		}
		own := paris
		own.Pending, own.Idle, own.Comparable = 700_000, "no task waits for a node", &api.Comparable{Nodes: 3, Price: 20_000}
		reply(w, own)
	})
	mux.HandleFunc("GET /v1/models", rows(api.Model{ID: "triage@1", Engine: "text", Size: 4096, OwnedBy: "acme", Reproducible: true, Digest: core.DigestOf([]byte("model")), Created: then.Unix()}))
	mux.HandleFunc("GET /v1/accounts", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("Authorization"), strangerKey) {
			rows(api.Account{ID: "acme"}, api.Account{ID: "alice"})(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"issuer","available":"-5.00","held":"0.00","created_at":"2026-11-01T12:00:00Z"}]}`)
	})
	mux.HandleFunc("GET /v1/accounts/acme/statement", rows(api.Transfer{Time: then, Kind: "post", Debit: "acme", Credit: "alice", Amount: 30_000, Task: taskID, Lease: leaseID}, api.Transfer{Time: then, Kind: "issue", Debit: "issuer", Credit: "acme", Amount: core.Credit}))
	mux.HandleFunc("GET /v1/ledger/audit", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, api.Audit{Debits: core.Credit, Credits: core.Credit, Transfers: 9, DoubleCharged: 1, Problems: []string{"part 3 was paid twice"}})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { reply(w, map[string]string{"status": "ok"}) })
	mux.HandleFunc("GET /v1/log/checkpoint", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 404, "no checkpoint has been published yet", "")
	})
	mux.HandleFunc("GET /.well-known/atoll/keys.json", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, api.SigningKeys{Hub: api.SigningKey{ID: "hub-1", PublicKey: "key"}, Nodes: []api.SigningKey{{ID: "paris-1", Owner: "alice", PublicKey: "key"}}})
	})
	mux.HandleFunc("GET /.well-known/atoll/trusted-root.json", func(w http.ResponseWriter, _ *http.Request) {
		log, _ := tlog.NewSigner("hub-1.atoll.internal", ed25519.NewKeyFromSeed(make([]byte, 32)))
		root, _ := receipt.TrustedRoot(log.Key(), then)
		_, _ = w.Write(root)
	})
}

func (f *fake) writes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/submit-task", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		spec, err := api.DecodeTaskSpec(b)
		if err != nil {
			refuse(w, 400, err.Error(), "")
			return
		}
		switch spec.Model {
		case "missing":
			refuse(w, 404, "no model \"missing\"", "list models with GET /v1/models")
			return
		case "stuck":
			t := task("running")
			t.ID, t.EndedAt = stuckID, nil
			reply(w, api.SubmitReply{Task: t})
			return
		case "lost": // a task that cannot be done
			t := task("expired")
			t.Reason = "no node in time"
			reply(w, api.SubmitReply{Task: t})
			return
		}
		t := task("running")
		t.EndedAt = nil
		reply(w, api.SubmitReply{Task: t})
	})
	mux.HandleFunc("DELETE /v1/tasks/"+taskID.String(), func(w http.ResponseWriter, _ *http.Request) { reply(w, task("cancelled")) })
	mux.HandleFunc("POST /v1/blobs", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		reply(w, api.Blob{Digest: core.DigestOf(b), Size: int64(len(b))})
	})
	mux.HandleFunc("POST /v1/models", func(w http.ResponseWriter, r *http.Request) {
		var m api.Model
		_ = json.NewDecoder(r.Body).Decode(&m)
		m.ID, m.Object, m.Version = m.Name+"@1", "model", 1
		reply(w, m)
	})
	mux.HandleFunc("POST /v1/accounts", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, api.Account{ID: "alice", Available: 5 * core.Credit})
	})
	mux.HandleFunc("POST /v1/accounts/alice/credit", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, api.Account{ID: "alice", Available: 7 * core.Credit})
	})
	mux.HandleFunc("POST /v1/keys", func(w http.ResponseWriter, r *http.Request) {
		if json.NewDecoder(r.Body).Decode(&struct{}{}) != nil {
			refuse(w, 400, "not a key", "")
			return
		}
		reply(w, api.APIKey{ID: "k1", Account: "alice", Secret: "atl_key_new"})
	})
	mux.HandleFunc("GET /v1/keys", rows(api.APIKey{ID: "k1", Account: "alice", Scopes: []string{"requester", "read"}, CreatedAt: then}, api.APIKey{ID: "k2", Account: "olga", Node: "paris-1", Scopes: []string{"node"}, CreatedAt: then}))
	mux.HandleFunc("DELETE /v1/keys/k1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /v1/join-tokens", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, api.JoinToken{Token: "atl_join_new", Owner: "alice", Uses: 1})
	})
	mux.HandleFunc("POST /v1/nodes/paris-1/drain", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, api.Node{ID: "paris-1", State: "draining", InFlight: 2})
	})
}

// receipts writes a bundle and what it is checked with, as "receipt get" does.
func (f *fake) receipts(dir string) error {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		return err
	}
	signer, err := receipt.NewSigner(key)
	if err != nil {
		return err
	}
	signed, err := signer.Execution(&receipt.Execution{Hub: "hub-1", Node: "paris-1", Owner: "alice", Account: "acme", Leases: []receipt.ExecutedLease{{
		Lease: leaseID, Task: taskID, Attempt: 1, Input: core.DigestOf([]byte("in")), Model: core.DigestOf([]byte("model")), Result: core.DigestOf(result),
		Engine: "text", Nonce: "nonce-1", Outcome: receipt.OK, StartedMs: 1, FinishedMs: 2, PriceMicro: 30_000, RegionDeclared: "FR",
	}}})
	if err != nil {
		return err
	}
	log, err := tlog.NewSigner("hub-1.atoll.internal", ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		return err
	}
	tree := tlog.Checkpoint{Size: 1, Root: tlog.LeafHash(signed.Leaf)}
	note, err := log.Sign(tree)
	if err != nil {
		return err
	}
	bundle, err := receipt.Bundle(receipt.Logged{Envelope: signed.Envelope, Leaf: signed.Leaf, Tree: tree, Checkpoint: note, Log: log.Key()})
	if err != nil {
		return err
	}
	root, err := receipt.TrustedRoot(log.Key(), then)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	var errs []error
	for name, data := range map[string][]byte{
		"receipt.json": bundle, "trusted-root.json": root, "result": result, "node.pub": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
	} {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return errors.Join(errs...)
}
