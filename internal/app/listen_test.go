package app

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"atoll/internal/cli"
)

func TestAdvertised(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, scheme, addr, want, refused string }{
		{"", "http", "127.0.0.1:8420", "http://127.0.0.1:8420", ""},
		{"", "https", "192.0.2.7:8420", "https://192.0.2.7:8420", ""},
		{"", "https", "[2001:db8::1]:8420", "https://[2001:db8::1]:8420", ""},
		{"https://hub.example:8420/", "https", "0.0.0.0:8420", "https://hub.example:8420", ""},
		{"https://hub.example", "http", "127.0.0.1:8420", "https://hub.example", ""}, // behind a proxy that speaks TLS
		{"", "https", "0.0.0.0:8420", "", "say with --advertise https://HOST:8420"},
		{"", "https", "[::]:8420", "", "say with --advertise https://HOST:8420"},
		{"http://hub.example:8420", "https", "0.0.0.0:8420", "", "say https://"},
		{"hub.example:8420", "https", "0.0.0.0:8420", "", "want https://host:port"},
		{"https://", "https", "0.0.0.0:8420", "", "want https://host:port"},
		{"https://hub.example/atoll", "https", "0.0.0.0:8420", "", "want https://host:port"},
		{"https://me:secret@hub.example", "https", "0.0.0.0:8420", "", "want https://host:port"},
	} {
		got, err := advertised(c.text, c.scheme, c.addr)
		if got != c.want || (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("advertise %q, listen %s: %q, %v; want %q, %q", c.text, c.addr, got, err, c.want, c.refused)
		}
	}
}

// Who opens too many connections, or does not come to the point, is refused.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	r := startHub(t, cli.HubConfig{Conns: 2})
	var answer strings.Builder
	for range 3 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		answer.WriteString(line[:len("HTTP/1.1 200")])
	}
	if want := "HTTP/1.1 200HTTP/1.1 200HTTP/1.1 503"; answer.String() != want {
		t.Errorf("%s, want %s", answer.String(), want)
	}
	r = startHub(t, cli.HubConfig{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", maxHeader+1<<13))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close() != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of more than %d bytes: %s", maxHeader, res.Status)
	}
}
