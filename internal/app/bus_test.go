package app

import "testing"

// A node elsewhere cannot dial "all addresses", and no certificate names them.
func TestBusIsReachable(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"tls://[::]:4222", "https://hub.example:8420", "tls://hub.example:4222"},
		{"tls://0.0.0.0:4222", "https://[2001:db8::1]:8420", "tls://[2001:db8::1]:4222"},
		{"nats://127.0.0.1:4222", "http://127.0.0.1:8420", "nats://127.0.0.1:4222"},
		{"tls://192.0.2.7:4222", "https://hub.example", "tls://192.0.2.7:4222"},
	} {
		if got := reachable(c[0], c[1]); got != c[2] {
			t.Errorf("bus %s of hub %s: nodes are told %s, want %s", c[0], c[1], got, c[2])
		}
	}
}
