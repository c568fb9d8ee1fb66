package atoll_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
)

const minimal = `{"model":"triage@1","input":[{"uri":"data:;base64,aGVsbG8="}]}`

func TestSubmit(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	res, data := b.do("POST", "/v1/submit-task", "ann-key", minimal, "Content-Type: application/json; charset=utf-8", "Idempotency-Key: k1")
	var reply api.SubmitReply
	if err := json.Unmarshal(data, &reply); err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %s", res.StatusCode, data)
	}
	if got := res.Header.Get("Location"); got != "/v1/tasks/"+reply.ID.String() || reply.State != "queued" || reply.Duplicate {
		t.Errorf("Location %q, %s", got, data)
	}
	s := b.hub.last
	if s.Account != "ann" || s.Key != "k1" || s.Body != core.DigestOf([]byte(minimal)) || s.Spec.Timeout.Queue.Std().Seconds() != 60 || s.Spec.Budget.MaxCost != core.Credit {
		t.Errorf("submission %+v", s)
	}

	res, data = b.do("POST", "/v1/submit-task", "ann-key", minimal, "Idempotency-Key: k1")
	var again api.SubmitReply
	if err := json.Unmarshal(data, &again); err != nil || res.StatusCode != http.StatusAccepted || again.ID != reply.ID || !again.Duplicate {
		t.Errorf("the same again: %d %s", res.StatusCode, data)
	}
	res, data = b.do("POST", "/v1/submit-task", "ann-key", minimal+" ", "Idempotency-Key: k1")
	wantProblem(t, res, data, 422, "mismatch")
	if res, data = b.do("POST", "/v1/submit-task", "bob-key", minimal, "Idempotency-Key: k1"); res.StatusCode != http.StatusAccepted {
		t.Errorf("another account's key: %d %s", res.StatusCode, data)
	}
}

func TestSubmitWait(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	res, data := b.do("POST", "/v1/submit-task?wait=1ms", "ann-key", minimal)
	if res.StatusCode != http.StatusAccepted || !strings.Contains(string(data), `"state":"queued"`) {
		t.Errorf("not ended: %d %s", res.StatusCode, data)
	}
	b.hub.instant = true
	res, data = b.do("POST", "/v1/submit-task?wait=30s", "ann-key", minimal)
	if res.StatusCode != http.StatusOK || !strings.Contains(string(data), `"state":"succeeded"`) || res.Header.Get("Location") == "" {
		t.Errorf("ended: %d %s", res.StatusCode, data)
	}
	if res, _ = b.do("POST", "/v1/submit-task", "ann-key", minimal); res.StatusCode != http.StatusAccepted {
		t.Errorf("without wait: %d", res.StatusCode)
	}
}

func TestSubmitRefusals(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *atoll.Config) { c.MaxBody = 4 << 10 })
	for name, c := range map[string]struct {
		query, body string
		headers     []string
		status      int
		kind, field string
	}{
		"empty":              {"", "", nil, 400, "invalid", ""},
		"not JSON":           {"", "model: x", nil, 400, "invalid", ""},
		"unknown field":      {"", `{"modell":"x"}`, nil, 400, "invalid", "modell"},
		"wrong type":         {"", `{"model":"m","input":[{"uri":1}]}`, nil, 400, "invalid", "input[0].uri"},
		"key twice":          {"", `{"model":"m","model":"n"}`, nil, 400, "invalid", "model"},
		"trailing data":      {"", minimal + "{}", nil, 400, "invalid", ""},
		"not valid":          {"", `{"model":"m"}`, nil, 400, "invalid", "input"},
		"not supported":      {"", `{"model":"m","input":[{"uri":"s3://b/k"}]}`, nil, 422, "not-supported", "input[0].uri"},
		"too expensive":      {"", strings.Replace(minimal, "{", `{"budget":{"max_cost":"1000"},`, 1), nil, 402, "insufficient", "budget.max_cost"},
		"overflowing budget": {"", strings.Replace(minimal, "{", `{"budget":{"max_cost":"9999999999999"},`, 1), nil, 400, "invalid", "budget.max_cost"},
		"NaN budget":         {"", strings.Replace(minimal, "{", `{"budget":{"max_cost":NaN},`, 1), nil, 400, "invalid", "budget.max_cost"},
		"large":              {"", minimal + strings.Repeat(" ", 4<<10), nil, 413, "too-large", ""},
		"form":               {"", minimal, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "unsupported-media-type", ""},
		"odd type":           {"", minimal, []string{"Content-Type: ;"}, 415, "unsupported-media-type", ""},
		"deflate":            {"", minimal, []string{"Content-Encoding: deflate"}, 415, "unsupported-media-type", ""},
		"idempotency long":   {"", minimal, []string{"Idempotency-Key: " + strings.Repeat("k", 256)}, 400, "invalid", "Idempotency-Key"},
		"idempotency empty":  {"", minimal, []string{"Idempotency-Key: "}, 400, "invalid", "Idempotency-Key"},
		"idempotency bytes":  {"", minimal, []string{"Idempotency-Key: clé"}, 400, "invalid", "Idempotency-Key"},
		"wait":               {"?wait=soon", minimal, nil, 400, "invalid", "wait"},
		"wait nothing":       {"?wait=", minimal, nil, 400, "invalid", "wait"},
		"wait long":          {"?wait=121s", minimal, nil, 400, "invalid", "wait"},
		"wait negative":      {"?wait=-1s", minimal, nil, 400, "invalid", "wait"},
		"query":              {"?wiat=3s", minimal, nil, 400, "invalid", "wiat"},
		"query form":         {"?%zz", minimal, nil, 400, "invalid", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, data := b.do("POST", "/v1/submit-task"+c.query, "ann-key", c.body, c.headers...)
			if p := wantProblem(t, res, data, c.status, c.kind); p.Field != c.field {
				t.Errorf("field %q, want %q", p.Field, c.field)
			}
		})
	}
}

// endless is a body without end that counts what is taken of it.
type endless struct{ taken atomic.Int64 }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	e.taken.Add(int64(len(b)))
	return len(b), nil
}

// Bodies that are too large cost bounded memory, whether they say so or not.
func TestHugeBodies(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *atoll.Config) { c.MaxBlob = 1 << 20; c.MaxResult = 1 << 20 })
	result := "/v1/node/leases/" + core.LeaseID(1).String() + "/result"
	for _, c := range []struct {
		method, path, key string
		limit             int64
	}{
		{"POST", "/v1/submit-task", "ann-key", 8 << 20}, {"POST", "/v1/models", "ann-key", 64 << 10}, {"POST", "/v1/nodes/join", "", 64 << 10},
		{"POST", "/v1/blobs", "ann-key", 1 << 20}, {"PUT", result, "node-key", 1 << 20},
	} {
		for _, declared := range []int64{1 << 30, -1} {
			body := new(endless)
			req := httptest.NewRequestWithContext(t.Context(), c.method, b.url+c.path, io.LimitReader(body, 1<<30))
			req.RequestURI, req.ContentLength = "", declared
			req.Header.Set("Authorization", "Bearer "+c.key)
			req.Header.Set("Expect", "100-continue") // a polite client: so that the refusal is read
			res, err := (&http.Transport{ExpectContinueTimeout: 1 << 40}).RoundTrip(req)
			if err != nil {
				if declared < 0 { // the server hung up while the client was still sending
					continue
				}
				t.Fatalf("%s, declared %d: %v", c.path, declared, err)
			}
			data, _ := io.ReadAll(res.Body)
			res.Body.Close()
			wantProblem(t, res, data, 413, "too-large")
			if taken := body.taken.Load(); taken > c.limit+8<<20 {
				t.Errorf("%s, declared %d: %d bytes were taken", c.path, declared, taken)
			}
		}
	}
}

// Clients that read nothing before all is sent, as most do, are told why a body was
// too large, and may go on over the same connection.
func TestLargeBodiesAreAnswered(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for range 2 {
		const size = 24 << 20
		_, err := fmt.Fprintf(conn, "POST /v1/submit-task HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer ann-key\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size)
		if err == nil {
			_, err = io.CopyN(conn, new(endless), size)
		}
		if err != nil {
			t.Fatalf("the connection broke while the body was sent: %v", err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(res.Body)
		wantProblem(t, res, data, 413, "too-large")
	}
}

func TestGzipBomb(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := io.Copy(z, io.LimitReader(new(endless), 2<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := atoll.New(atoll.Config{Hub: newFakeHub(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/submit-task", "/v1/blobs", "/v1/models"} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", path, bytes.NewReader(bomb.Bytes()))
		r.Header.Set("Authorization", "Bearer ann-key")
		r.Header.Set("Content-Encoding", "gzip")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		wantProblem(t, w.Result(), w.Body.Bytes(), 415, "unsupported-media-type")
		if w.Header().Get("Accept-Encoding") != "identity" {
			t.Error("the answer does not say what is accepted")
		}
	}
}

// Buffers are shared between requests; specifications must not be.
func TestSubmissionsDoNotShareMemory(t *testing.T) {
	t.Parallel()
	hub := &keepingHub{fakeHub: newFakeHub()}
	h, err := atoll.New(atoll.Config{Hub: hub, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				name := fmt.Sprintf("m%d-%d", i, j)
				body := fmt.Sprintf(`{"model":%q,"input":[{"uri":"data:,%s"}],"params":{"name":%q}}`, name, name, name)
				r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/submit-task", strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer ann-key")
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
	wg.Wait()
	if len(hub.kept) != 400 {
		t.Fatalf("%d submissions", len(hub.kept))
	}
	for _, s := range hub.kept {
		if s.Input[0].URI != "data:,"+s.Model || string(s.Params["name"]) != `"`+s.Model+`"` {
			t.Fatalf("model %s with %s and %s", s.Model, s.Input[0].URI, s.Params["name"])
		}
	}
}
