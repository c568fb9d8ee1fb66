package fetchtest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// Outside is a loopback address that stands for a public one: a guard can be
// told to allow it and no other.
const Outside = "127.0.0.2"

// Serve answers requests to an address (host:port, port 0 for a free one) until
// the test ends, and returns the port. It fails where the system has no such
// address or the port is taken.
func Serve(t testing.TB, address string, h http.HandlerFunc) (port uint16, err error) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", address)
	if err != nil {
		return 0, err
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Listener.Close() // it has taken one of its own
	srv.Listener = ln
	srv.Start()
	t.Cleanup(srv.Close)
	return netip.MustParseAddrPort(ln.Addr().String()).Port(), nil
}
