package atoll_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
)

func noHandlers(c *atoll.Config) { c.MetricsHandler, c.LogHandler = nil, nil }

// pages follows a list's cursors to its end and returns all rows.
func pages[T any](b *bench, path, key string, each func(rows int)) []T {
	b.t.Helper()
	join := "?"
	if strings.Contains(path, "?") {
		join = "&"
	}
	var out []T
	for cursor := ""; ; {
		p := path
		if cursor != "" {
			p += join + "cursor=" + url.QueryEscape(cursor)
		}
		page := get[api.List[T]](b, p, key)
		if page.Object != "list" || page.Data == nil {
			b.t.Fatalf("%s: object %q, data %v", p, page.Object, page.Data)
		}
		out = append(out, page.Data...)
		each(len(page.Data))
		if page.Next == "" {
			return out
		}
		if cursor = page.Next; len(out) > 1000 {
			b.t.Fatal("no end")
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for range 7 {
		b.task("failed")
	}
	id := b.task("succeeded").task.ID.String()
	atMost2 := func(n int) {
		if n > 2 {
			t.Errorf("a page of %d rows", n)
		}
	}
	tasks := pages[api.Task](b, "/v1/tasks?limit=2", "ann-key", atMost2)
	if len(tasks) != 8 || !slices.IsSortedFunc(tasks, func(x, y api.Task) int { return int(y.ID - x.ID) }) {
		t.Errorf("%d tasks", len(tasks))
	}
	if n := len(pages[api.Task](b, "/v1/tasks?limit=2&state=failed", "ann-key", atMost2)); n != 7 {
		t.Errorf("%d failed tasks", n)
	}
	if n := len(pages[api.Task](b, "/v1/tasks", "bob-key", atMost2)); n != 0 {
		t.Errorf("bob sees %d tasks", n)
	}
	if n := len(pages[api.Part](b, "/v1/tasks/"+id+"/parts?limit=2", "ann-key", atMost2)); n != 3 {
		t.Errorf("%d parts", n)
	}
	if n := len(pages[api.Lease](b, "/v1/tasks/"+id+"/leases?limit=2", "ann-key", atMost2)); n != 3 {
		t.Errorf("%d leases", n)
	}
	if n := len(pages[api.ReceiptRef](b, "/v1/tasks/"+id+"/receipts?limit=2", "ann-key", atMost2)); n != 3 {
		t.Errorf("%d receipts", n)
	}
	if n := len(pages[api.Transfer](b, "/v1/accounts/ann/statement?limit=2", "ann-key", atMost2)); n != 5 {
		t.Errorf("%d transfers", n)
	}
	for i := range 5 {
		b.hub.models = append(b.hub.models, api.Model{ID: fmt.Sprintf("m@%d", i+1)})
	}
	if n := len(pages[api.Model](b, "/v1/models?limit=2", "ann-key", atMost2)); n != 5 {
		t.Errorf("%d models", n)
	}
	if n := len(pages[api.Account](b, "/v1/accounts?limit=2", "admin-key", atMost2)); n != 3 {
		t.Errorf("%d accounts", n)
	}
	if a := pages[api.Account](b, "/v1/accounts", "ann-read", atMost2); len(a) != 1 || a[0].ID != "ann" {
		t.Errorf("ann sees %v", a)
	}
	if n := pages[api.Node](b, "/v1/nodes", "ann-read", atMost2); len(n) != 1 || n[0].ID != "paris-1" {
		t.Errorf("ann sees %v", n)
	}
	if n := pages[api.Node](b, "/v1/nodes?limit=1", "admin-key", atMost2); len(n) != 2 {
		t.Errorf("the admin sees %v", n)
	}
}

func TestOffers(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.hub.offers = []api.Offer{
		{Node: "a", Price: 30, Country: "FR", Engines: []string{"text"}, ReliabilityP5: .9, P50Ms: 5, P99Ms: 50, Labels: map[string]string{"tier": "gold"}},
		{Node: "b", Price: 10, Country: "DE", Engines: []string{"text", "wasm"}, ReliabilityP5: .5, P50Ms: 9, P99Ms: 20},
		{Node: "c", Price: 20, Country: "FR", Engines: []string{"wasm"}, ReliabilityP5: .7},
		{Node: "d", Price: 10, Country: "US", Engines: []string{"wasm"}, ReliabilityP5: .95, P50Ms: 1, P99Ms: 90},
	}
	for query, want := range map[string]string{
		"": "bdca", "sort=price": "bdca", "sort=-price": "acbd", "sort=p50": "dabc", "sort=-p50": "badc", "sort=latency": "dabc", "sort=p99": "badc",
		"sort=-p99": "dabc", "sort=reliability": "bcad", "sort=-reliability": "dacb",
		"country=FR": "ca", "country=fr": "", "engine=text": "ba", "engine=tex": "", "max_price=0.00002": "bdc", "min_reliability=0.7": "dca",
		"selector=tier%3Dgold": "a", "selector=tier+in+(gold,silver)": "a", "country=FR&engine=wasm": "c",
	} {
		for _, limit := range []string{"1", "2", "3", "100"} {
			var got strings.Builder
			for _, o := range pages[api.Offer](b, "/v1/market/offers?limit="+limit+"&"+query, "ann-read", func(int) {}) {
				got.WriteString(string(o.Node))
			}
			if got.String() != want {
				t.Errorf("%s, limit %s: %q, want %q", query, limit, got.String(), want)
			}
		}
	}

	// Offers come and go between pages: what has not moved comes exactly once.
	first := get[api.List[api.Offer]](b, "/v1/market/offers?limit=2", "ann-read")
	b.hub.mu.Lock()
	b.hub.offers = append(b.hub.offers[:1], append([]api.Offer{{Node: "0", Price: 1}}, b.hub.offers[2:]...)...) // b goes, 0 comes
	b.hub.mu.Unlock()
	rest := get[api.List[api.Offer]](b, "/v1/market/offers?limit=5&cursor="+first.Next, "ann-read")
	if len(rest.Data) != 2 || rest.Data[0].Node != "c" || rest.Data[1].Node != "a" {
		t.Errorf("the second page: %v", rest.Data)
	}
}

// follow reads a stream of events to its end.
func (b *bench) follow(id string, headers ...string) (*http.Response, []string) {
	b.t.Helper()
	res, data := b.do("GET", "/v1/tasks/"+id+"/events", "ann-key", "", headers...)
	var ids []string
	for line := range strings.SplitSeq(string(data), "\n") {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			ids = append(ids, id)
		}
	}
	return res, ids
}

func TestEventStream(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	task := b.task("")
	id := task.task.ID.String()
	res, err := b.send("GET", "/v1/tasks/"+id+"/events", "ann-key", "")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Fatalf("Content-Type %q", ct)
	}
	lines := bufio.NewScanner(res.Body)
	next := func() string {
		var block []string
		for lines.Scan() && lines.Text() != "" {
			block = append(block, lines.Text())
		}
		return strings.Join(block, "|")
	}
	if got := next(); got != "retry: 1000" {
		t.Errorf("first %q", got)
	}
	if got := next(); !strings.HasPrefix(got, `id: 1|event: task.queued|data: {"id":1,`) {
		t.Errorf("event %q", got)
	}
	for i, kind := range []string{"task.placing", "task.running"} { // each arrives while the stream is open
		b.hub.mu.Lock()
		task.event(kind)
		b.hub.mu.Unlock()
		if got := next(); !strings.HasPrefix(got, fmt.Sprintf("id: %d|event: %s|data: {", i+2, kind)) {
			t.Errorf("event %q", got)
		}
	}
	b.hub.mu.Lock()
	task.end("succeeded")
	b.hub.mu.Unlock()
	if got := next(); !strings.HasPrefix(got, "id: 4|event: task.succeeded|") {
		t.Errorf("event %q", got)
	}
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("after the last event: %q, %v", lines.Text(), lines.Err())
	}

	for after, want := range map[string]string{"": "[1 2 3 4]", "0": "[1 2 3 4]", "2": "[3 4]", "3": "[4]"} {
		if _, ids := b.follow(id, "Last-Event-ID: "+after); fmt.Sprint(ids) != want {
			t.Errorf("after %q: %v, want %s", after, ids, want)
		}
	}
	for _, after := range []string{"4", "99"} {
		if res, _ := b.follow(id, "Last-Event-ID: "+after); res.StatusCode != http.StatusNoContent {
			t.Errorf("after %s: %s", after, res.Status)
		}
	}
	for _, bad := range []string{"x", "-1", "99999999999999999999", "1e3"} {
		res, data := b.do("GET", "/v1/tasks/"+id+"/events", "ann-key", "", "Last-Event-ID: "+bad)
		wantProblem(t, res, data, 400, "invalid")
	}
}

func TestEventPages(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	id := b.task("succeeded").task.ID.String()
	path := "/v1/tasks/" + id + "/events"
	page := get[api.List[api.Event]](b, path+"?limit=1", "ann-key", "Accept: application/json")
	if len(page.Data) != 1 || page.Data[0].ID != 1 || page.Next != "1" {
		t.Errorf("%+v", page)
	}
	page = get[api.List[api.Event]](b, path+"?cursor=1", "ann-key", "Accept: application/json")
	if len(page.Data) != 1 || page.Data[0].ID != 2 || page.Next != "" {
		t.Errorf("%+v", page)
	}
	page = get[api.List[api.Event]](b, path+"?cursor=2", "ann-key", "Accept: application/json")
	if page.Data == nil || len(page.Data) != 0 {
		t.Errorf("%+v", page)
	}
	for _, q := range []string{"?limit=0", "?limit=x", "?cursor=x", "?limit=1001"} {
		res, data := b.do("GET", path+q, "ann-key", "", "Accept: application/json")
		wantProblem(t, res, data, 400, "invalid")
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *atoll.Config) { c.Heartbeat = time.Millisecond })
	task := b.task("")
	res, err := b.send("GET", "/v1/tasks/"+task.task.ID.String()+"/events", "ann-key", "")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	beats := 0
	for beats < 3 && lines.Scan() {
		if strings.HasPrefix(lines.Text(), ":") {
			beats++
		}
	}
	if beats != 3 {
		t.Errorf("%d heartbeats, %v", beats, lines.Err())
	}
	b.hub.mu.Lock()
	task.end("failed")
	b.hub.mu.Unlock()
	var rest strings.Builder
	for lines.Scan() {
		rest.WriteString(lines.Text() + "|")
	}
	if !strings.Contains(rest.String(), "event: task.failed|") || lines.Err() != nil {
		t.Errorf("after the heartbeats: %q, %v", rest.String(), lines.Err())
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	task := b.task("succeeded")
	path := "/v1/tasks/" + task.task.ID.String() + "/result"
	res, data := b.do("GET", path, "ann-key", "")
	if string(data) != "one\ntwo\nthree\n" || res.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%s %q", res.Status, data)
	}
	res, data = b.do("GET", path+"?part=1", "ann-key", "")
	if string(data) != "two\n" || res.StatusCode != http.StatusOK {
		t.Errorf("%s %q", res.Status, data)
	}
	task.parts = [][]byte{nil}
	if res, data = b.do("GET", path, "ann-key", ""); res.StatusCode != http.StatusOK || len(data) != 0 {
		t.Errorf("an empty result: %s %q", res.Status, data)
	}

	// A result that breaks off must not look whole.
	task.parts, task.cut = [][]byte{[]byte("half")}, true
	res, err := b.send("GET", path, "ann-key", "")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("a result that was cut short looks whole")
	}
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	body := "some bytes"
	d := core.DigestOf([]byte(body))
	sum := sha256.Sum256([]byte(body))
	rfc := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	for _, h := range []string{"X-None: ", "Digest: " + d.String(), "Content-Digest: " + rfc, "Content-Digest: md5=:AA==:, " + rfc} {
		res, data := b.do("POST", "/v1/blobs", "ann-key", body, h)
		if want := fmt.Sprintf(`{"digest":%q,"size":10}`, d); res.StatusCode != http.StatusCreated || string(data) != want {
			t.Errorf("%s: %s %s", h, res.Status, data)
		}
	}
	for _, h := range []string{
		"Digest: " + core.DigestOf([]byte("other")).String(), "Digest: sha-256=x", "Digest: md5:00", "Content-Digest: md5=:AA==:",
		"Content-Digest: sha-256=:AA==:", "Content-Digest: " + strings.TrimSuffix(rfc, ":"),
	} {
		res, data := b.do("POST", "/v1/blobs", "ann-key", body, h)
		wantProblem(t, res, data, 400, "invalid")
	}
	if string(b.hub.blobs[d]) != body {
		t.Error("the bytes were not stored as sent")
	}

	res, data := b.do("POST", "/v1/models", "ann-key", fmt.Sprintf(`{"name":"m","engine":"wasm","digest":%q}`, d))
	if res.StatusCode != http.StatusCreated || res.Header.Get("Location") != "/v1/models/m@1" || !strings.Contains(string(data), `"owned_by":"ann"`) {
		t.Errorf("%s %q %s", res.Status, res.Header.Get("Location"), data)
	}
	if m := get[api.Model](b, "/v1/models/m@1", "bob-key"); m.Digest != d {
		t.Errorf("%+v", m)
	}
	res, data = b.do("PUT", "/v1/node/leases/"+core.LeaseID(1).String()+"/result", "node-key", "a result")
	if res.StatusCode != http.StatusNoContent || string(b.hub.results[1]) != "a result" {
		t.Errorf("%s %s", res.Status, data)
	}
}

func TestMounted(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for path, want := range map[string]string{
		"/v1/log/checkpoint": "log /checkpoint", "/v1/log/tile/0/x001/234.p/17": "log /tile/0/x001/234.p/17", "/metrics": "metric 1\n",
		"/v1/receipts/" + core.LeaseID(1).String(): `{"receipt":1}`, "/.well-known/atoll/trusted-root.json": `{"root":1}`,
	} {
		if res, data := b.do("GET", path, "ann-key", ""); res.StatusCode != http.StatusOK || string(data) != want {
			t.Errorf("%s: %s %s", path, res.Status, data)
		}
	}
	if ct, _ := b.do("GET", "/v1/receipts/"+core.LeaseID(1).String(), "ann-key", ""); ct.Header.Get("Content-Type") != "application/vnd.dev.sigstore.bundle.v0.3+json" {
		t.Errorf("Content-Type %q", ct.Header.Get("Content-Type"))
	}
	b = start(t, func(c *atoll.Config) {
		c.LogHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such tile", http.StatusNotFound) })
	})
	res, data := b.do("GET", "/v1/log/tile/9", "", "")
	if p := wantProblem(t, res, data, 404, "not-found"); p.Detail != "no such tile" {
		t.Errorf("%s", data)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	if res, data := b.do("GET", "/readyz", "", ""); res.StatusCode != http.StatusOK || string(data) != `{"status":"ok","version":"test"}` {
		t.Errorf("%s %s", res.Status, data)
	}
	b.hub.ready = core.Errorf(core.Unavailable, "the store has stopped")
	res, data := b.do("GET", "/readyz", "", "")
	wantProblem(t, res, data, 503, "unavailable")
	if res, _ := b.do("GET", "/healthz", "", ""); res.StatusCode != http.StatusOK {
		t.Error(res.Status)
	}
}

func TestCreditOnce(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, want := range []string{"105.00", "105.00", "110.00"} {
		key := "k1"
		if want == "110.00" {
			key = "k2"
		}
		_, data := b.do("POST", "/v1/accounts/ann/credit", "admin-key", `{"amount":"5"}`, "Idempotency-Key: "+key)
		if !strings.Contains(string(data), `"available":"`+want+`"`) {
			t.Errorf("%s, want %s", data, want)
		}
	}
	res, data := b.do("POST", "/v1/accounts/ann/credit", "admin-key", `{"amount":"5"}`, "Idempotency-Key: é")
	wantProblem(t, res, data, 400, "invalid")
}

func TestJoinTokenDefaults(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	_, data := b.do("POST", "/v1/join-tokens", "admin-key", `{"owner":"ann"}`)
	if want := `"uses":1`; !strings.Contains(string(data), want) || !strings.Contains(string(data), "1970-01-02") {
		t.Errorf("%s", data)
	}
}
