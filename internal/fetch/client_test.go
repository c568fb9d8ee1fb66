package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/fetch/fetchtest"
)

func client(t testing.TB, c Config) *Client {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func get(t testing.TB, c *Client, uri string, limit int64) ([]byte, error) {
	t.Helper()
	p, err := ParsePointer(uri, core.Digest{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Get(t.Context(), p, limit)
}

func TestGuardJudgesAddresses(t *testing.T) {
	t.Parallel()
	public := "1.1.1.1 93.184.216.34 2606:4700::1111 2a00::1"
	inner := "127.0.0.1 127.8.8.8 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 ::1 fc00::1 fd12::1"
	never := "0.0.0.0 0.1.2.3 169.254.169.254 169.254.1.1 192.0.0.192 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 " +
		":: fe80::1 fec0::1 ff02::1 ::ffff:127.0.0.1 ::ffff:93.184.216.34 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 " +
		"2002:7f00:1::1 2002:a9fe:a9fe:: 2001:0:7f00:1::1 2001:db8::1 3fff::1 100::1 5f00::1 100.100.100.200 fd00:ec2::254 fd20:ce::254"
	for name, tc := range map[string]struct {
		config  Config
		ok, bad string
	}{
		"default": {Config{}, public, inner + " " + never},
		"private": {Config{AllowPrivate: true}, public + " " + inner, never},
		"some":    {Config{AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00:ec2::254/128")}}, public + " 10.1.2.3 fd00:ec2::254", "127.0.0.1 ::1 fd12::1 192.168.1.1"},
	} {
		g, err := newGuard(tc.config)
		if err != nil {
			t.Fatal(err)
		}
		check := func(list string, want bool) {
			for a := range strings.FieldsSeq(list) {
				network := "tcp4"
				if strings.Contains(a, ":") {
					network = "tcp6"
				}
				if err := g.control(network, net.JoinHostPort(a, "443"), nil); (err == nil) != want || err != nil && !errors.Is(err, ErrRefused) {
					t.Errorf("%s: %s: %v", name, a, err)
				}
			}
		}
		check(tc.ok, true)
		check(tc.bad, false)
	}
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("::ffff:10.0.0.0/104")} {
		if _, err := New(Config{AllowedCIDRs: []netip.Prefix{p}}); err == nil {
			t.Errorf("range %v was accepted", p)
		}
	}
}

func TestGuardJudgesPorts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		config  Config
		ok, bad []int
	}{
		"default": {Config{}, []int{443}, []int{80, 22, 25, 6379, 8443}},
		"http":    {Config{AllowHTTP: true}, []int{80, 443}, []int{22, 8080}},
		"ports":   {Config{Ports: []uint16{8443}}, []int{8443}, []int{443, 80}},
		"private": {Config{AllowPrivate: true}, []int{1, 443, 65535}, nil},
	} {
		g, err := newGuard(tc.config)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range append(tc.ok, tc.bad...) {
			err := g.control("tcp4", fmt.Sprintf("1.1.1.1:%d", port), nil)
			if want := len(tc.bad) == 0 || port == tc.ok[0] || port == tc.ok[len(tc.ok)-1]; (err == nil) != want {
				t.Errorf("%s: port %d: %v", name, port, err)
			}
		}
		for _, network := range []string{"udp4", "unix", "tcp"} {
			if err := g.control(network, "1.1.1.1:443", nil); !errors.Is(err, ErrRefused) {
				t.Errorf("%s: network %s: %v", name, network, err)
			}
		}
	}
}

// TestNamesOfInnerAddresses asks for every way to write an inner address in a
// URL. None may be connected to.
func TestNamesOfInnerAddresses(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	c := client(t, Config{AllowHTTP: true, Ports: []uint16{srv.Listener.Addr().(*net.TCPAddr).AddrPort().Port()}, Resolver: fetchtest.Resolver(func(string) []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
	})})
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[::]", "0.0.0.0", "rebind.example"} {
		_, err := get(t, c, "http://"+host+":"+port+"/", 10)
		if !errors.Is(err, ErrRefused) || core.KindOf(err) != core.Forbidden || strings.Contains(err.Error(), "prohibited") {
			t.Errorf("%s: %v", host, err)
		}
		if e, ok := errors.AsType[*core.Error](err); !ok || !strings.Contains(e.Hint, "--allow-private") {
			t.Errorf("%s: the hint does not say how it can be allowed: %+v", host, e)
		}
	}
	for _, host := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1."} {
		if _, err := ParsePointer("http://"+host+":"+port+"/", core.Digest{}); core.KindOf(err) != core.Invalid {
			t.Errorf("%s: %v", host, err)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests got through", hits.Load())
	}
}

// TestRebinding lets a name answer with an allowed address first and with inner
// ones afterwards.
func TestRebinding(t *testing.T) {
	t.Parallel()
	port, err := fetchtest.Serve(t, fetchtest.Outside+":0", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "public") })
	if err != nil {
		t.Skipf("no server can listen on %s (%v); on macOS: sudo ifconfig lo0 alias %[1]s", fetchtest.Outside, err)
	}
	var hits atomic.Int32
	if _, err := fetchtest.Serve(t, fmt.Sprintf("127.0.0.1:%d", port), func(http.ResponseWriter, *http.Request) { hits.Add(1) }); err != nil {
		t.Log("nothing listens inside; the guard's own refusal must do:", err)
	}
	var answer atomic.Pointer[netip.Addr]
	c := client(t, Config{
		AllowHTTP: true, AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix(fetchtest.Outside + "/32")}, Ports: []uint16{port},
		Resolver: fetchtest.Resolver(func(string) []netip.Addr { return []netip.Addr{*answer.Load()} }),
	})
	for i, a := range []string{fetchtest.Outside, "127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", fetchtest.Outside} {
		addr := netip.MustParseAddr(a)
		answer.Store(&addr)
		got, err := get(t, c, fmt.Sprintf("http://rebind.example:%d/", port), 100)
		if a == fetchtest.Outside {
			if err != nil || string(got) != "public" {
				t.Errorf("answer %d: %q, %v", i, got, err)
			}
		} else if !errors.Is(err, ErrRefused) {
			t.Errorf("answer %d, %s: %v", i, a, err)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("the inner server was reached %d times", hits.Load())
	}
}

// server answers over TLS, as strangers' servers must.
func server(t testing.TB, h http.HandlerFunc, c Config) (*httptest.Server, *Client) {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	c.AllowPrivate = true
	c.RootCAs = x509.NewCertPool()
	c.RootCAs.AddCert(srv.Certificate())
	return srv, client(t, c)
}

func TestGet(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // must not be asked
	srv, c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" || r.URL.RawQuery != "q=%20x" {
			t.Errorf("request: %v %v", r.URL, r.Header)
		}
		io.WriteString(w, "hello")
	}, Config{})
	uri := srv.URL + "/x?q=%20x"
	for _, d := range []core.Digest{{}, core.DigestOf([]byte("hello"))} {
		p, err := ParsePointer(uri, d)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Get(t.Context(), p, 5); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := c.Get(t.Context(), Pointer{Kind: Remote, URI: uri, Digest: core.Digest{1}}, 5); !errors.Is(err, ErrMismatch) || core.KindOf(err) != core.Invalid {
		t.Errorf("wrong digest: %v", err)
	}
	if _, err := get(t, c, uri, 4); core.KindOf(err) != core.TooLarge {
		t.Errorf("over the limit: %v", err)
	}
	if got, err := get(t, c, "data:,abc", 3); err != nil || string(got) != "abc" {
		t.Errorf("inline: %q, %v", got, err)
	}
	if _, err := get(t, c, "data:,abc", 2); core.KindOf(err) != core.TooLarge {
		t.Errorf("inline over the limit: %v", err)
	}
	if _, err := get(t, c, "blob:"+core.DigestOf(nil).String(), 2); core.KindOf(err) != core.Invalid {
		t.Errorf("blob: %v", err)
	}
	if _, err := get(t, client(t, Config{AllowPrivate: true}), uri, 5); core.KindOf(err) != core.Unavailable {
		t.Errorf("a certificate nobody vouches for: %v", err)
	}
	if _, err := get(t, client(t, Config{}), "http://example.com/", 5); core.KindOf(err) != core.Invalid || !strings.Contains(err.Error(), "http is not allowed") {
		t.Errorf("http: %v", err)
	}
}

func TestHostileServers(t *testing.T) {
	t.Parallel()
	var inner atomic.Int32
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inner.Add(1) }))
	defer secret.Close()
	for name, tc := range map[string]struct {
		serve http.HandlerFunc
		kind  core.Kind
		says  string
	}{
		"redirect inside": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, secret.URL, http.StatusFound) }, core.Invalid, "redirects"},
		"length too long": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "1000000000000") }, core.TooLarge, "larger than 1000 bytes"},
		"endless body": {func(w http.ResponseWriter, r *http.Request) {
			for buf := make([]byte, 1<<16); ; {
				if _, err := w.Write(buf); err != nil {
					return
				}
			}
		}, core.TooLarge, "larger than 1000 bytes"},
		"gzip bomb": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 1<<20))
			_ = z.Close()
		}, core.Invalid, `encoded as "gzip"`},
		"cut short": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "x")
		}, core.Unavailable, "broke off after 1 bytes"},
		"endless header": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, core.Unavailable, "header"},
		"not found":      {http.NotFound, core.NotFound, "answered 404"},
		"broken":         {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, core.Unavailable, "answered 503"},
		"unwilling":      {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, core.Invalid, "answered 401"},
		"empty":          {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, core.Invalid, "answered 204"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, c := server(t, tc.serve, Config{MaxBytes: 1000})
			got, err := get(t, c, srv.URL, 1<<40)
			if core.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%d bytes, %v (%s)", len(got), err, core.KindOf(err))
			}
		})
	}
	t.Cleanup(func() {
		if inner.Load() != 0 {
			t.Error("a redirect was followed")
		}
	})
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	hang := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
		}
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}
	srv, c := server(t, hang, Config{Timeout: 300 * time.Millisecond})
	defer close(stop)
	for _, path := range []string{"/header", "/body"} {
		if _, err := get(t, c, srv.URL+path, 100); core.KindOf(err) != core.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, Pointer{Kind: Remote, URI: srv.URL}, 100); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestErrorsDoNotRepeatURLs holds for Do, whose callers log its errors.
func TestErrorsDoNotRepeatURLs(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	c, err := New(Config{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = get(t, c, "https://127.0.0.1/hook?token=hunter2", 1)
	if err == nil || strings.Contains(err.Error()+logged.String(), "hunter2") || !strings.Contains(logged.String(), "127.0.0.1") {
		t.Errorf("%v; log: %s", err, &logged)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://127.0.0.1/hook?token=hunter2", nil)
	if _, err := c.Do(req); !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
