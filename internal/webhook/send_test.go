package webhook

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"atoll/internal/fetch"
	"atoll/internal/fetch/fetchtest"
)

var discard = slog.New(slog.DiscardHandler)

func sender(t testing.TB, fc fetch.Config, timeout time.Duration) *Sender {
	t.Helper()
	fc.Log = discard
	c, err := fetch.New(fc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSender(SenderConfig{Client: c, Key: key(1), Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSend(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	sec := secret(t, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		byHMAC := Keys{Secrets: []Secret{sec}}.Verify(r.Header, body, now)
		byEd := Keys{Publics: []ed25519.PublicKey{key(1).Public().(ed25519.PublicKey)}}.Verify(r.Header, body, now)
		if byHMAC != nil || byEd != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != ContentType || r.Header.Get(HeaderID) != "xfer_1" || string(body) != "{}" {
			t.Errorf("%v, %v, %v %v %q", byHMAC, byEd, r.Method, r.Header, body)
		}
		w.WriteHeader(202)
	}))
	defer srv.Close()
	if r := sender(t, fetch.Config{AllowPrivate: true}, 0).Send(t.Context(), Delivery{ID: "xfer_1", URL: srv.URL, Body: []byte("{}"), Secret: sec}, now); r != (Result{Done, 202, nil}) {
		t.Errorf("%+v", r)
	}
}

func TestSendToHostileReceivers(t *testing.T) {
	t.Parallel()
	var followed atomic.Int32
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer inner.Close()
	stop := make(chan struct{})
	wait := func(r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, inner.URL, http.StatusTemporaryRedirect)
		case "/gone":
			w.WriteHeader(http.StatusGone)
		case "/500":
			w.WriteHeader(500)
		case "/400":
			w.WriteHeader(400)
		case "/hang":
			wait(r)
		case "/endless":
			for buf := make([]byte, 1<<16); ; {
				if _, err := w.Write(buf); err != nil {
					return
				}
			}
		}
	}))
	defer srv.Close()
	defer close(stop)
	s := sender(t, fetch.Config{AllowPrivate: true}, 300*time.Millisecond)
	for path, want := range map[string]Result{
		"/redirect?token=hunter2": {Retry, 307, nil}, "/gone?token=hunter2": {Dead, 410, nil}, "/500?token=hunter2": {Retry, 500, nil}, "/400": {Retry, 400, nil},
		"/hang?token=hunter2": {Retry, 0, nil}, "/endless": {Done, 200, nil},
	} {
		r := s.Send(t.Context(), Delivery{ID: "a", URL: srv.URL + path, Body: []byte("{}"), Secret: secret(t, 1)}, time.Now())
		if r.Outcome != want.Outcome || r.Status != want.Status || (r.Err == nil) != (want.Outcome == Done) || strings.Contains(fmt.Sprint(r.Err), "hunter2") {
			t.Errorf("%s: %+v", path, r)
		}
	}
	for _, bad := range []Delivery{
		{ID: "a", URL: "ftp://x/"}, {ID: "a", URL: "http://u:hunter2@x.example/"}, {ID: "a", URL: ":"}, {ID: "a", URL: "http://2130706433/"}, {ID: "", URL: srv.URL}, {ID: "a.b", URL: srv.URL},
	} {
		if r := s.Send(t.Context(), bad, time.Now()); r.Outcome != Dead || r.Err == nil || strings.Contains(r.Err.Error(), "hunter2") {
			t.Errorf("%+v: %+v", bad, r)
		}
	}
	if followed.Load() != 0 {
		t.Error("a redirect was followed")
	}
	if _, err := NewSender(SenderConfig{}); err == nil {
		t.Error("a sender without a guard")
	}
}

// TestSendAfterRebinding: the name was public when the task was submitted and
// answers with an inner address at the dial.
func TestSendAfterRebinding(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	port, err := fetchtest.Serve(t, fetchtest.Outside+":0", func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	if err != nil {
		t.Skipf("no server can listen on %s (%v); on macOS: sudo ifconfig lo0 alias %[1]s", fetchtest.Outside, err)
	}
	answers := []string{fetchtest.Outside, "127.0.0.1", "169.254.169.254", "::1", "10.0.0.8"}
	var at atomic.Int32
	s := sender(t, fetch.Config{
		AllowHTTP: true, Ports: []uint16{port}, AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix(fetchtest.Outside + "/32")},
		Resolver: fetchtest.Resolver(func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(answers[at.Load()])} }),
	}, 0)
	for i, a := range answers {
		at.Store(int32(i))
		r := s.Send(t.Context(), Delivery{ID: "a", URL: fmt.Sprintf("http://hooks.example:%d/", port), Secret: secret(t, 1)}, time.Now())
		switch {
		case i == 0 && r.Outcome != Done:
			t.Errorf("public answer: %+v", r)
		case i > 0 && (r.Outcome != Retry || !errors.Is(r.Err, fetch.ErrRefused)):
			t.Errorf("answer %s: %+v", a, r)
		}
	}
	if hits.Load() != 1 {
		t.Errorf("%d requests arrived, want the one that was allowed", hits.Load())
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Uint64().Draw(t, "id")
		var total time.Duration
		base := firstDelay
		for n := 1; ; n++ {
			delay, giveUp := Next(n, id)
			if again, g := Next(n, id); again != delay || g != giveUp {
				t.Fatal("not deterministic")
			}
			if giveUp {
				if n != maxAttempts {
					t.Fatalf("gave up after %d attempts", n)
				}
				break
			}
			if delay < base*4/5 || delay > base*6/5 {
				t.Fatalf("attempt %d: %s, want about %s", n, delay, base)
			}
			total += delay
			base = min(base*delayFactor, maxDelay)
		}
		if total < 18*time.Hour || total > 28*time.Hour {
			t.Fatalf("gave up after %s", total)
		}
	})
	a, _ := Next(5, 1)
	if b, _ := Next(5, 2); a == b {
		t.Error("no jitter")
	}
	if d, giveUp := Next(-3, 1); giveUp || d > 6*time.Second {
		t.Errorf("attempt -3: %s, %v", d, giveUp)
	}
}

// TestNothingSecretIsLogged lets a real attempt fail and looks at the log.
func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	fc, err := fetch.New(fetch.Config{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSender(SenderConfig{Client: fc, Key: key('Q')})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDispatcher(DispatcherConfig{Outbox: newBox(), Send: s.Send, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{"https://127.0.0.1/hunter2?token=hunter2", "https://me:hunter2@example.com/"} {
		x := Delivery{ID: "a", URL: u, Secret: secret(t, 'Q'), Body: []byte(`"hunter2"`)}
		if err := d.record(t.Context(), x, s.Send(t.Context(), x, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.String(); strings.Contains(got, "hunter2") || strings.Contains(got, "UVFR") || strings.Contains(got, "QQQ") || !strings.Contains(got, "address refused") {
		t.Errorf("log: %s", got)
	}
}
