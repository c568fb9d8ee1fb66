package bus

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/jwt/v2"
	"go.opentelemetry.io/otel/trace"
)

func TestTraceparent(t *testing.T) {
	t.Parallel()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := WithTraceparent(context.Background(), parent)
	if got := Traceparent(ctx); got != parent {
		t.Errorf("got %q, want %q", got, parent)
	}
	if sc := trace.SpanContextFromContext(ctx); !sc.IsRemote() || !sc.IsSampled() {
		t.Errorf("span context %+v", sc)
	}
	for _, bad := range []string{"", "x", "00-00000000000000000000000000000000-b7ad6b7169203331-01", parent + "\r\n"} {
		if got := Traceparent(WithTraceparent(context.Background(), bad)); got != "" {
			t.Errorf("%q became %q", bad, got)
		}
	}
	c := HeaderCarrier{}
	c.Set("tracestate", "a=b")
	c.Set("traceparent", parent)
	if keys := c.Keys(); len(keys) != 2 || keys[0] != "traceparent" {
		t.Errorf("keys %v", keys)
	}
}

func TestLoadCreds(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(c *ServerConfig) { c.InProcessOnly = true })
	userJWT, pair := credentials(t, s, "a")
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "hub.creds")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	gotJWT, gotPair, err := LoadCreds(path)
	if err != nil || gotJWT != userJWT || publicOf(t, gotPair) != publicOf(t, pair) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".absent"} {
		if _, _, err := LoadCreds(p); err == nil {
			t.Errorf("%s: accepted", p)
		}
	}
}
