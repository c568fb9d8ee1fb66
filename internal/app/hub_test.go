package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"atoll/internal/cli"
	"atoll/internal/durable"
)

// A hub that cannot start says why, ends, and gives its directory back.
func TestHubThatCannotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		listen, advertise, why string
		spoil                  func(dir string) error
	}{
		"no name for the outside": {listen: "0.0.0.0:0", why: "--advertise"},
		"no TLS for the outside":  {listen: "0.0.0.0:0", advertise: "http://hub.example:8420", why: "--advertise"},
		// Found only when everything else is running already.
		"the admin's key cannot be read": {listen: "127.0.0.1:0", why: "admin.key", spoil: func(dir string) error { return os.Mkdir(filepath.Join(dir, "admin.key"), 0o700) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := cli.HubConfig{Dir: t.TempDir(), Listen: c.listen, Advertise: c.advertise, Log: testLog(t)}
			if c.spoil != nil {
				if err := c.spoil(cfg.Dir); err != nil {
					t.Fatal(err)
				}
			}
			ended := make(chan error, 1)
			go func() { ended <- hub(t.Context(), cfg) }()
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("%v, want something about %s", err, c.why)
				}
			case <-time.After(patience):
				t.Fatal("the hub neither starts nor ends")
			}
			unlock, err := durable.Lock(cfg.Dir, "this test")
			if err != nil {
				t.Fatal(err)
			}
			if err := unlock(); err != nil {
				t.Error(err)
			}
		})
	}
}
