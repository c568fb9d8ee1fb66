package conns

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait; nothing here measures time.
const patience = 20 * time.Second

func serve(t *testing.T, c Config) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") }))
	ln, err := Limit(srv.Listener, c)
	if err != nil {
		t.Fatal(err)
	}
	srv.Listener = ln
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// dial opens a connection and has one request answered on it.
func dial(t *testing.T, srv *httptest.Server) (conn net.Conn, answer string) {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n") // may be refused already
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil && n == 0 {
		return conn, err.Error()
	}
	return conn, string(b[:n])
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"as many as one address may": {Total: 9, PerAddress: 3, Plain: true},
		"holds 3 connections, as":    {Total: 3, PerAddress: 3, Plain: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, c)
			first, answer := dial(t, srv)
			for range 2 {
				_, answer = dial(t, srv)
			}
			if !strings.HasPrefix(answer, "HTTP/1.1 200") {
				t.Fatalf("within the limit: %q", answer)
			}
			if _, answer := dial(t, srv); !strings.HasPrefix(answer, "HTTP/1.1 503") || !strings.Contains(answer, name) || !strings.Contains(answer, "Retry-After: 5\r\n") {
				t.Errorf("over the limit: %q", answer)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			// The server notices in its own time that there is room again.
			for end := time.Now().Add(patience); ; {
				if _, answer := dial(t, srv); strings.HasPrefix(answer, "HTTP/1.1 200") {
					return
				}
				if time.Now().After(end) {
					t.Fatal("a closed connection is still counted")
				}
			}
		})
	}
}

// A TLS client would not understand words before the handshake.
func TestClosedWithoutWords(t *testing.T) {
	t.Parallel()
	srv := serve(t, Config{Total: 1})
	dial(t, srv)
	if _, answer := dial(t, srv); strings.Contains(answer, "HTTP") {
		t.Errorf("%q", answer)
	}
}

// A thousand clients on one machine are nothing out of the ordinary.
func TestDefaultsHoldAThousandClients(t *testing.T) {
	t.Parallel()
	ln, err := Limit(never{}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := ln.(*listener)
	for i := range 3000 {
		if why := l.take("127.0.0.1"); why != "" {
			t.Fatalf("client %d: %s", i, why)
		}
	}
}

type never struct{ net.Listener }

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{Total: -1}, {PerAddress: -1}, {Total: 5, PerAddress: 6}} {
		if _, err := Limit(never{}, c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

type broken struct{ net.Listener }

var errBroken = errors.New("broken")

func (broken) Accept() (net.Conn, error) { return nil, errBroken }

func TestAcceptFails(t *testing.T) {
	t.Parallel()
	ln, err := Limit(broken{}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7", "[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64", "pipe": "unknown",
	} {
		if got := Key(remote); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}
