package atoll_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"atoll/internal/core"
)

var update = flag.Bool("update", false, "rewrite golden files")

// document is what is looked at of the OpenAPI document.
type document struct {
	OpenAPI    string                          `json:"openapi"`
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas         map[string]json.RawMessage `json:"schemas"`
		SecuritySchemes map[string]json.RawMessage `json:"securitySchemes"`
	} `json:"components"`
}

type operation struct {
	OperationID string `json:"operationId"`
	Summary     string
	Parameters  []struct{ Name, In string }
	RequestBody *json.RawMessage
	Responses   map[string]struct {
		Description string
		Content     map[string]json.RawMessage
	}
	Security *[]map[string][]string
}

// routes lists every route with a request that would succeed for those who may
// make it, and the lowest statuses that show that a key was let through.
// Columns: no key, ann's read key, ann's requester key, bob's requester key,
// a node's key, an admin's key.
var routes = []struct {
	id, method, path, body string
	want                   [6]int
}{
	{"submit-task", "POST", "/v1/submit-task", minimal, [6]int{401, 403, 202, 202, 403, 202}},
	{"list-tasks", "GET", "/v1/tasks", "", [6]int{401, 200, 200, 200, 403, 200}},
	{"get-task", "GET", "/v1/tasks/TASK", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"list-parts", "GET", "/v1/tasks/TASK/parts", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"list-leases", "GET", "/v1/tasks/TASK/leases", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"list-receipts", "GET", "/v1/tasks/TASK/receipts", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"list-events", "GET", "/v1/tasks/TASK/events", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"get-result", "GET", "/v1/tasks/TASK/result", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"cancel-task", "DELETE", "/v1/tasks/TASK", "", [6]int{401, 403, 200, 404, 403, 200}},
	{"list-offers", "GET", "/v1/market/offers", "", [6]int{401, 200, 200, 200, 403, 200}},
	{"get-receipt", "GET", "/v1/receipts/LEASE", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"get-verdict", "GET", "/v1/receipts/LEASE/verdict", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"get-trusted-root", "GET", "/.well-known/atoll/trusted-root.json", "", [6]int{200, 200, 200, 200, 200, 200}},
	{"get-signing-keys", "GET", "/.well-known/atoll/keys.json", "", [6]int{200, 200, 200, 200, 200, 200}},
	{"get-checkpoint", "GET", "/v1/log/checkpoint", "", [6]int{200, 200, 200, 200, 200, 200}},
	{"get-tile", "GET", "/v1/log/tile/0/x001/234", "", [6]int{200, 200, 200, 200, 200, 200}},
	{"put-blob", "POST", "/v1/blobs", "model bytes", [6]int{401, 403, 201, 201, 403, 201}},
	{"register-model", "POST", "/v1/models", `{"name":"m","engine":"wasm","digest":"DIGEST"}`, [6]int{401, 403, 201, 201, 403, 201}},
	{"list-models", "GET", "/v1/models", "", [6]int{401, 200, 200, 200, 403, 200}},
	{"get-model", "GET", "/v1/models/m@1", "", [6]int{401, 200, 200, 200, 403, 200}},
	{"put-service", "PUT", "/v1/services/tiny", `{"model":"m"}`, [6]int{401, 403, 200, 200, 403, 200}},
	{"list-services", "GET", "/v1/services", "", [6]int{401, 200, 200, 200, 403, 200}},
	{"get-service", "GET", "/v1/services/tiny", "", [6]int{401, 200, 200, 200, 403, 200}},
	{"delete-service", "DELETE", "/v1/services/none", "", [6]int{401, 403, 404, 404, 403, 404}},
	{"list-accounts", "GET", "/v1/accounts", "", [6]int{401, 200, 200, 200, 403, 200}},
	{"create-account", "POST", "/v1/accounts", `{"id":"carol","credit":"5.00"}`, [6]int{401, 403, 403, 403, 403, 201}},
	{"credit-account", "POST", "/v1/accounts/ann/credit", `{"amount":"5"}`, [6]int{401, 403, 403, 403, 403, 200}},
	{"get-webhook-keys", "GET", "/v1/webhook-keys", "", [6]int{401, 403, 200, 200, 403, 200}},
	{"get-statement", "GET", "/v1/accounts/ann/statement", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"audit-ledger", "GET", "/v1/ledger/audit", "", [6]int{401, 403, 403, 403, 403, 200}},
	{"list-keys", "GET", "/v1/keys", "", [6]int{401, 403, 403, 403, 403, 200}},
	{"create-key", "POST", "/v1/keys", `{"account":"ann","scopes":["read"]}`, [6]int{401, 403, 403, 403, 403, 201}},
	{"revoke-key", "DELETE", "/v1/keys/k-none", "", [6]int{401, 403, 403, 403, 403, 204}},
	{"create-join-token", "POST", "/v1/join-tokens", `{"owner":"ann","uses":2,"ttl":"1h"}`, [6]int{401, 403, 403, 403, 403, 201}},
	{"list-nodes", "GET", "/v1/nodes", "", [6]int{401, 200, 200, 200, 403, 200}},
	{"drain-node", "POST", "/v1/nodes/paris-1/drain", `{"on":true}`, [6]int{401, 403, 200, 404, 403, 200}},
	{"join-node", "POST", "/v1/nodes/join", `{"token":"good","node":"new-1"}`, [6]int{200, 200, 200, 200, 200, 200}},
	{"get-own-node", "GET", "/v1/node", "", [6]int{401, 403, 403, 403, 200, 403}},
	{"renew-node-certificate", "POST", "/v1/node/certificate", "", [6]int{401, 403, 403, 403, 200, 403}},
	{"get-node-model", "GET", "/v1/node/models/DIGEST", "", [6]int{401, 403, 403, 403, 200, 403}},
	{"get-node-model-chunks", "GET", "/v1/node/models/DIGEST/chunks", "", [6]int{401, 403, 403, 403, 200, 403}},
	{"get-lease-input", "GET", "/v1/node/leases/LEASE/input", "", [6]int{401, 403, 403, 403, 200, 403}},
	{"put-lease-result", "PUT", "/v1/node/leases/LEASE/result", "result", [6]int{401, 403, 403, 403, 204, 403}},
	{"begin-federation", "POST", "/v1/federations", "{}", [6]int{401, 403, 201, 201, 403, 201}},
	{"get-federation-roster", "POST", "/v1/federations/roster", "{}", [6]int{401, 403, 200, 200, 403, 200}},
	{"list-federations", "GET", "/v1/federations", "", [6]int{401, 200, 200, 200, 403, 200}},
	{"get-federation", "GET", "/v1/federations/FED", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"list-federation-rounds", "GET", "/v1/federations/FED/rounds", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"get-federation-receipt", "GET", "/v1/federations/FED/rounds/1/receipt", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"get-federation-model", "GET", "/v1/federations/FED/model", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"get-federation-card", "GET", "/v1/federations/FED/card", "", [6]int{401, 200, 200, 404, 403, 200}},
	{"pause-federation", "POST", "/v1/federations/FED/pause", "", [6]int{401, 403, 200, 404, 403, 200}},
	{"resume-federation", "POST", "/v1/federations/FED/resume", "", [6]int{401, 403, 200, 404, 403, 200}},
	{"stop-federation", "POST", "/v1/federations/FED/stop", "", [6]int{401, 403, 200, 404, 403, 200}},
	{"get-federation-order", "POST", "/v1/node/federations/orders", `{"datasets":[]}`, [6]int{401, 403, 403, 403, 204, 403}},
	{"get-federation-terms", "GET", "/v1/node/federations/FED", "", [6]int{401, 403, 403, 403, 200, 403}},
	{"reply-to-federation", "POST", "/v1/node/federations/FED/replies", "\x02\x00\x00\x00{}", [6]int{401, 403, 403, 403, 204, 403}},
	{"attach-to-relay", "GET", "/v1/node/relay", "", [6]int{401, 403, 403, 403, 400, 403}},
	{"connect-through-relay", "GET", "/v1/node/relay/rome-1", "", [6]int{401, 403, 403, 403, 400, 403}},
	{"revoke-node", "DELETE", "/v1/nodes/paris-1", "", [6]int{401, 403, 200, 404, 401, 200}}, // ann's row revokes the node's key
	{"get-health", "GET", "/healthz", "", [6]int{200, 200, 200, 200, 200, 200}},
	{"get-ready", "GET", "/readyz", "", [6]int{200, 200, 200, 200, 200, 200}},
	{"get-metrics", "GET", "/metrics", "", [6]int{200, 200, 200, 200, 200, 200}},
	{"get-openapi", "GET", "/openapi.json", "", [6]int{200, 200, 200, 200, 200, 200}},
}

func TestScopes(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	blob := []byte("model bytes")
	b.hub.blobs[core.DigestOf(blob)] = blob
	fill := strings.NewReplacer("TASK", b.task("succeeded").task.ID.String(), "LEASE", core.LeaseID(1).String(), "FED", fakeFederation.String(), "DIGEST", core.DigestOf(blob).String())
	keys := [6]string{"", "ann-read", "ann-key", "bob-key", "node-key", "admin-key"}
	for _, rt := range routes {
		for i, key := range keys {
			res, data := b.do(rt.method, fill.Replace(rt.path), key, fill.Replace(rt.body))
			if res.StatusCode != rt.want[i] {
				t.Errorf("%s %s with %q: %d, want %d: %s", rt.method, rt.path, key, res.StatusCode, rt.want[i], data)
			}
			if res.StatusCode >= http.StatusBadRequest && res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s with %q: %s", rt.method, rt.path, key, res.Header.Get("Content-Type"))
			}
		}
	}
}

// The document holds every route and no other, says what each needs, and refers
// to nothing that is not there.
func TestDocument(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	res, data := b.do("GET", "/openapi.json", "", "")
	if ct := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || ct != "application/openapi+json" {
		t.Fatalf("%d %s", res.StatusCode, ct)
	}
	var d document
	if err := json.Unmarshal(data, &d); err != nil || d.OpenAPI != "3.1.0" {
		t.Fatalf("%v, version %q", err, d.OpenAPI)
	}
	got := map[string]string{}
	for path, ops := range d.Paths {
		for method, op := range ops {
			got[op.OperationID] = strings.ToUpper(method) + " " + path
			checkOperation(t, path, op)
		}
	}
	want := map[string]bool{}
	for _, rt := range routes {
		want[rt.id] = true
		if !strings.HasPrefix(got[rt.id], rt.method+" ") {
			t.Errorf("%s is documented as %q", rt.id, got[rt.id])
		}
		delete(got, rt.id)
	}
	if len(got) > 0 || len(want) != len(routes) {
		t.Errorf("routes that the table of scopes does not have: %v", got)
	}
	for _, ref := range refs(data) {
		if _, ok := d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]; !ok {
			t.Errorf("%s is not there", ref)
		}
	}
	if bytes.Contains(data, []byte("ErrorModel")) {
		t.Error("an error type that no answer has")
	}
	golden(t, "openapi.json", data)
}

func checkOperation(t *testing.T, path string, op operation) {
	t.Helper()
	if op.Summary == "" || op.Security == nil || len(op.Responses) < 2 {
		t.Errorf("%s: summary %q, security %v, %d responses", path, op.Summary, op.Security, len(op.Responses))
	}
	if _, ok := op.Responses["default"].Content["application/problem+json"]; !ok {
		t.Errorf("%s: no problem document", path)
	}
	for status, r := range op.Responses {
		if r.Description == "" {
			t.Errorf("%s: response %s has no description", path, status)
		}
	}
	inPath := map[string]bool{}
	for _, p := range op.Parameters {
		if p.In == "path" {
			inPath[p.Name] = true
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok && !inPath[strings.TrimSuffix(name, "}")] {
			t.Errorf("%s: parameter %s is not documented", path, segment)
		}
		delete(inPath, strings.Trim(segment, "{}"))
	}
	if len(inPath) > 0 {
		t.Errorf("%s: documents %v, which it does not have", path, slices.Collect(maps.Keys(inPath)))
	}
}

func refs(document []byte) []string {
	var out []string
	for line := range strings.SplitSeq(string(document), "\n") {
		if _, ref, ok := strings.Cut(line, `"$ref": "`); ok {
			out = append(out, strings.TrimRight(ref, `",`))
		}
	}
	return out
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(want)) {
		t.Errorf("%s has changed; if that is meant: go test ./internal/httpapi/atoll -update", name)
	}
}

// A route without its handler must not be there, rather than fail.
func TestOptionalHandlers(t *testing.T) {
	t.Parallel()
	b := start(t, noHandlers)
	for _, path := range []string{"/metrics", "/v1/log/checkpoint"} {
		res, data := b.do("GET", path, "", "")
		wantProblem(t, res, data, http.StatusNotFound, "not-found")
	}
}

func TestRevokedKeyStopsAtOnce(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	if res, _ := b.do("GET", "/v1/tasks", "ann-read", ""); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if res, data := b.do("DELETE", "/v1/keys/k-ann-read", "admin-key", ""); res.StatusCode != http.StatusNoContent || len(data) > 0 {
		t.Fatalf("%s %s", res.Status, data)
	}
	if res, _ := b.do("GET", "/v1/tasks", "ann-read", ""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a revoked key: %s", res.Status)
	}
	input := fmt.Sprintf("/v1/node/leases/%s/input", core.LeaseID(1))
	if res, _ := b.do("GET", input, "node-key", ""); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if res, data := b.do("DELETE", "/v1/nodes/paris-1", "ann-key", ""); res.StatusCode != http.StatusOK || !strings.Contains(string(data), "revoked") {
		t.Fatalf("%s %s", res.Status, data)
	}
	if res, _ := b.do("GET", input, "node-key", ""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a revoked node: %s", res.Status)
	}
}
