package app

import (
	"strings"
	"testing"
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
