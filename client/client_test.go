package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
)

var ids = core.NewIDSource(nil, nil)

// serve starts a hub that answers with h, and a client of it.
func serve(t testing.TB, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{URL: srv.URL, Key: "atl_key_test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]client.Config{
		"no scheme":   {URL: "127.0.0.1:8420"},
		"no host":     {URL: "http://"},
		"other":       {URL: "ftp://hub"},
		"password":    {URL: "http://me:secret@hub"},
		"query":       {URL: "http://hub?x=1"},
		"key":         {URL: "http://hub", Key: "atl_key_a\nb"},
		"certificate": {URL: "https://hub", CACert: []byte("nonsense")},
		"both":        {URL: "https://hub", CACert: []byte("x"), HTTP: http.DefaultClient},
	} {
		if _, err := client.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// One submission stays one however often it is sent: same key, same body.
func TestSubmitRepeatsWithOneKey(t *testing.T) {
	t.Parallel()
	id := core.TaskID(ids.Next())
	var keys, bodies []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		keys, bodies = append(keys, r.Header.Get("Idempotency-Key")), append(bodies, string(body))
		switch len(keys) {
		case 1:
			panic(http.ErrAbortHandler) // the connection breaks; nobody knows what happened
		case 2:
			answer(w, http.StatusServiceUnavailable, api.Problem{Title: "unavailable", Detail: "later"})
		case 3:
			http.Error(w, "bad gateway", http.StatusBadGateway) // something in between
		default:
			answer(w, http.StatusAccepted, api.SubmitReply{Task: api.Task{ID: id, State: "queued"}, Duplicate: true})
		}
	})
	reply, err := c.Submit(t.Context(), &api.TaskSpec{Model: "m@1", Input: []api.DataPointer{client.Inline([]byte("x"))}}, client.SubmitOptions{})
	if err != nil || reply.ID != id || !reply.Duplicate {
		t.Fatalf("got %+v, %v", reply, err)
	}
	if len(keys) != 4 {
		t.Fatalf("keys %q", keys)
	}
	if made, err := strconv.ParseInt(keys[0][:12], 16, 64); err != nil || time.Since(time.UnixMilli(made)).Abs() > time.Hour {
		t.Errorf("key %q does not begin with the time: keys of one hour would be far apart in the hub's index", keys[0])
	}
	for i := range keys {
		if keys[i] != keys[0] || bodies[i] != bodies[0] {
			t.Errorf("try %d: key %q body %q, first %q %q", i, keys[i], bodies[i], keys[0], bodies[0])
		}
	}
	if _, err := api.DecodeTaskSpec([]byte(bodies[0])); err != nil {
		t.Errorf("the hub's own decoder refuses what was sent: %v", err)
	}
}

func TestWaitAndKeyAreSent(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("wait") != "30s" || r.Header.Get("Idempotency-Key") != "order-7" || r.Header.Get("Authorization") != "Bearer atl_key_test" || r.Header.Get("Traceparent") != "00-x" {
			t.Errorf("got %s %v", r.URL, r.Header)
		}
		answer(w, 200, api.SubmitReply{Task: api.Task{ID: core.TaskID(ids.Next())}})
	})
	if _, err := c.Submit(t.Context(), &api.TaskSpec{}, client.SubmitOptions{Key: "order-7", Wait: 30 * time.Second, Traceparent: "00-x"}); err != nil {
		t.Fatal(err)
	}
}

// What the hub refuses for good is asked once and is an *api.Problem. What
// would be done twice is sent once whatever the answer.
func TestNotRepeated(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		call   func(c *client.Client) error
	}{
		"refused task": {422, func(c *client.Client) error {
			_, err := c.Submit(t.Context(), &api.TaskSpec{}, client.SubmitOptions{})
			return err
		}},
		"missing task": {404, func(c *client.Client) error { _, err := c.Task(t.Context(), 1); return err }},
		"new key":      {503, func(c *client.Client) error { _, err := c.CreateKey(t.Context(), "a", "read"); return err }},
		"new token":    {502, func(c *client.Client) error { _, err := c.CreateJoinToken(t.Context(), "a", 1, time.Hour); return err }},
		"redirect":     {302, func(c *client.Client) error { _, err := c.Audit(t.Context()); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", "/elsewhere")
				answer(w, tc.status, api.Problem{Type: "urn:atoll:problem:x", Title: "x", Detail: "no", Field: "model", Hint: "do so"})
			})
			err := tc.call(c)
			var p *api.Problem
			if !errors.As(err, &p) || p.Status != tc.status || p.Field != "model" || err.Error() != "model: no (do so)" {
				t.Fatalf("error %v (%+v)", err, p)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// What is behind a wrong address is not shown to people as HTML.
func TestPageForBrowsers(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("\n<!DOCTYPE html><title>nothing here</title>"))
	})
	_, err := c.Task(t.Context(), 1)
	if want := "the hub's address answered 404 Not Found: a page for browsers, so it may not be a hub's"; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
}

// What answers with a certificate that is not trusted, or without TLS, will do so
// again: the caller hears of it at once.
func TestWrongServerIsNotRepeated(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for name, tc := range map[string]struct {
		url       string
		untrusted bool
	}{
		"unknown CA": {secure.URL, true},
		"no TLS":     {strings.Replace(plain.URL, "http:", "https:", 1), false},
	} {
		again := func(err error) { t.Errorf("%s: tried again after %v", name, err) }
		c, err := client.New(client.Config{URL: tc.url, OnRetry: again, RetryFor: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Task(t.Context(), 1)
		if !client.Unreachable(err) || client.Untrusted(err) != tc.untrusted {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnRetry(t *testing.T) {
	t.Parallel()
	var told []error
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls == 1 {
			answer(w, 503, api.Problem{Title: "x", Detail: "starting"})
			return
		}
		answer(w, 200, api.Task{ID: 1})
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{URL: srv.URL, OnRetry: func(err error) { told = append(told, err) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Task(t.Context(), 1); err != nil || len(told) != 1 || told[0].Error() != "starting" {
		t.Errorf("%v, told of %v", err, told)
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	t.Parallel()
	var first time.Time
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if first.IsZero() {
			first = time.Now()
			w.Header().Set("Retry-After", "1")
			answer(w, http.StatusTooManyRequests, api.Problem{Title: "slow down"})
			return
		}
		if d := time.Since(first); d < time.Second {
			t.Errorf("came back after %s", d)
		}
		answer(w, 200, api.Audit{OK: true})
	})
	if a, err := c.Audit(t.Context()); err != nil || !a.OK {
		t.Fatalf("%+v, %v", a, err)
	}
}

func TestListFollowsCursor(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		n := 0
		_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &n)
		page := api.List[api.Part]{Object: "list", Data: []api.Part{{Index: n}, {Index: n + 1}}}
		if n < 4 {
			page.Next = fmt.Sprint(n + 2)
		}
		answer(w, 200, page)
	})
	parts, err := client.Collect(c.Parts(t.Context(), 1))
	if err != nil || len(parts) != 6 || parts[5].Index != 5 {
		t.Fatalf("%v, %v", parts, err)
	}
	for range c.Parts(t.Context(), 1) {
		break // one page is enough
	}
	if n := calls.Load(); n != 4 {
		t.Errorf("%d calls, want 3 and 1", n)
	}
}

func TestListThatDoesNotMoveOn(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, api.List[api.Part]{Data: []api.Part{{}}, Next: "1"})
	})
	if parts, err := client.Collect(c.Parts(t.Context(), 1)); err == nil || len(parts) != 2 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
}

func sendEvent(w io.Writer, e api.Event) {
	b, _ := json.Marshal(e)
	fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Type, b)
}

// A stream that breaks in each way there is yields each event once, in order,
// and ends with the task.
func TestEventsResume(t *testing.T) {
	t.Parallel()
	id := core.TaskID(ids.Next())
	event := func(n int64) api.Event {
		e := api.Event{ID: n, Type: "lease.offered", Message: fmt.Sprint(n)}
		if n == 9 {
			e.Type = "task.succeeded"
		}
		return e
	}
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			answer(w, 200, api.Task{ID: id, State: "running"})
			return
		}
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		switch len(asked) {
		case 1: // breaks inside an event
			sendEvent(w, event(1))
			fmt.Fprint(w, ": keep-alive\n\nid: 2\r\ndata: {\"id\"")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case 2: // a hub that restarts
			answer(w, http.StatusServiceUnavailable, api.Problem{Title: "starting"})
		case 3: // says old things again, and closes properly, too early
			sendEvent(w, event(1))
			sendEvent(w, event(2))
			sendEvent(w, event(3))
		case 4: // closes without a word
		default:
			for n := int64(4); n <= 9; n++ {
				sendEvent(w, event(n))
			}
		}
	})
	var got []int64
	for e, err := range c.Events(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.ID)
	}
	if fmt.Sprint(got) != "[1 2 3 4 5 6 7 8 9]" {
		t.Errorf("events %v", got)
	}
	if fmt.Sprint(asked) != "[0 1 1 3 3]" {
		t.Errorf("asked from %v", asked)
	}
}

func TestEventsEndAndErrors(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("x", 2<<20)
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"ended before": {func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/events") {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			answer(w, 200, api.Task{State: "failed"})
		}, ""},
		"unknown": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 404, api.Problem{Title: "not found", Detail: "no task"})
		}, "no task"},
		"not a stream": {func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "hello") }, "not an event stream"},
		"endless line": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: ", huge)
		}, "longer than"},
		"endless event": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for range 2000 {
				fmt.Fprintf(w, "data: %s\n", huge[:1000])
			}
		}, "longer than"},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {\n\n")
		}, "not an event"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, tc.handler)
			_, err := client.Collect(c.Events(t.Context(), 1, 0))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestResultCutShort(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
	})
	var b bytes.Buffer
	if err := c.Result(t.Context(), 1, &b); !errors.Is(err, io.ErrUnexpectedEOF) || b.String() != "half" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel(why)
		answer(w, http.StatusServiceUnavailable, api.Problem{Title: "later"})
	})
	if _, err := c.Audit(ctx); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

func BenchmarkSubmit(b *testing.B) {
	reply, _ := json.Marshal(api.SubmitReply{Task: api.Task{ID: core.TaskID(ids.Next()), State: "succeeded", Reason: "all parts are verified", CreatedAt: time.Now()}})
	c := serve(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(reply)
	})
	spec := &api.TaskSpec{Model: "noop@1", Input: []api.DataPointer{client.Inline(nil)}}
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Submit(b.Context(), spec, client.SubmitOptions{}); err != nil {
				b.Error(err)
			}
		}
	})
}

// The account that credits are issued from is below zero, and is shown so.
func TestAmountsBelowZero(t *testing.T) {
	t.Parallel()
	body := `{"object":"list","data":[{"id":"issuer","available":"-5.00","held":"0.50"}]}`
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
	rows, err := client.Collect(c.Accounts(t.Context()))
	if err != nil || rows[0].Available != -5*core.Credit || rows[0].Held != core.Credit/2 {
		t.Errorf("%+v, %v", rows, err)
	}
	for _, bad := range []string{`"-"`, `"5e3"`, `-5`} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Replace(body, `"-5.00"`, bad, 1))
		})
		if rows, err := client.Collect(c.Accounts(t.Context())); err == nil {
			t.Errorf("%s was read as %s", bad, rows[0].Available)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for want, status := range map[string]map[string]int{
		"[admin read requester]": {"/v1/keys": 400, "/v1/submit-task": 400, "/v1/models": 200},
		"[read requester]":       {"/v1/keys": 403, "/v1/submit-task": 400, "/v1/models": 200},
		"[]":                     {"/v1/keys": 403, "/v1/submit-task": 403, "/v1/models": 403},
		"unknown key":            {"/v1/keys": 401},
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			answer(w, status[r.URL.Path], api.Problem{Title: "x", Detail: "unknown key"})
		})
		scopes, err := c.Scopes(t.Context())
		if got := fmt.Sprint(scopes); err == nil && got != want || err != nil && err.Error() != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("id: 1\ndata: {\"id\":1,\"type\":\"task.succeeded\"}\n\n"))
	f.Add([]byte("data: {\"id\":1}\r\n\r\ndata\n\n: x\ndata:{\"id\":2,\ndata:\"type\":\"task.failed\"}\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		first := true
		c, err := client.New(client.Config{URL: "http://hub", RetryFor: -1, HTTP: &http.Client{Transport: transport(func(*http.Request) *http.Response {
			body := stream
			if !first {
				body = []byte("data: {\"id\":9223372036854775807,\"type\":\"task.cancelled\"}\n\n")
			}
			first = false
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(bytes.NewReader(body))}
		})}})
		if err != nil {
			t.Fatal(err)
		}
		last := int64(0)
		for e, err := range c.Events(t.Context(), 1, 0) {
			if err == nil && e.ID <= last {
				t.Fatalf("event %d after %d", e.ID, last)
			}
			last = max(last, e.ID)
		}
	})
}

type transport func(*http.Request) *http.Response

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r), nil }
