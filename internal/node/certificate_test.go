package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"atoll/internal/bus"
	"atoll/internal/identity"
)

// A node runs for years, with a hub that now and then is away for a week.
func TestCertificateStaysFresh(t *testing.T) {
	t.Parallel()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca, err := identity.LoadOrCreateCA(dir, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		issue := func() string {
			text, err := ca.IssueNode("paris-1", key.Public())
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		c, err := newCertificate(issue(), key)
		if err != nil {
			t.Fatal(err)
		}
		began, asked, failures := time.Now(), 0, 0
		away := func() bool {
			return int(time.Since(began).Hours()/24)%30 >= 18 && int(time.Since(began).Hours()/24)%30 < 25
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.keepFresh(ctx, func(context.Context) (string, error) {
				if asked++; away() {
					return "", errors.New("the hub is away")
				}
				return issue(), nil
			}, func(error) { failures++ })
		}()
		for time.Since(began) < 3*365*24*time.Hour {
			time.Sleep(12 * time.Hour)
			if shown, err := c.show(nil); err != nil || shown.Leaf == nil || time.Now().After(shown.Leaf.NotAfter) {
				t.Fatalf("after %s no valid certificate is shown: %v", time.Since(began), err)
			}
		}
		cancel()
		<-done
		if renewed := asked - failures; renewed < 36 || renewed > 60 || failures == 0 {
			t.Errorf("renewed %d times in three years, in vain %d times", renewed, failures)
		}
	})
}

// One that was switched off for too long shows nothing rather than what has
// expired, until it has the next.
func TestExpiredCertificateIsNotShown(t *testing.T) {
	t.Parallel()
	ca, err := identity.LoadOrCreateCA(t.TempDir(), func() time.Time { return time.Now().Add(-31 * 24 * time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	text, err := ca.IssueNode("paris-1", key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCertificate(string(text), key)
	if err != nil {
		t.Fatal(err)
	}
	if shown, err := c.show(nil); err != nil || len(shown.Certificate) != 0 || !c.due() {
		t.Errorf("%+v, %v, due: %v", shown, err, c.due())
	}
}

// What the hub grants next is kept for the next start.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	h := newHub(t, true)
	cfg := h.config(t.TempDir())
	key, err := identity.LoadOrCreate(filepath.Join(cfg.Dir, "keys"), "node")
	if err != nil {
		t.Fatal(err)
	}
	next, err := h.ca.IssueNode("paris-1", key.Public())
	if err != nil {
		t.Fatal(err)
	}
	old, err := h.monthAgo.IssueNode("paris-1", key.Public())
	if err != nil {
		t.Fatal(err)
	}
	h.nextCert, h.spoil = string(next), func(g *identity.JoinGrant) { g.NodeCert = string(old) }
	renewed := make(chan struct{}, 1)
	cfg.Log = slog.New(listener{"certificate renewed", renewed})
	running(t, cfg)
	h.next(bus.KindHeartbeat)
	<-renewed
	if _, grant, err := Joined(cfg.Dir); err != nil || grant.NodeCert != string(next) {
		t.Errorf("the certificate that is kept is not the next one: %v", err)
	}
}

// listener is a log that tells of one message.
type listener struct {
	message string
	heard   chan<- struct{}
}

func (listener) Enabled(context.Context, slog.Level) bool { return true }
func (l listener) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l listener) WithGroup(string) slog.Handler          { return l }

func (l listener) Handle(_ context.Context, r slog.Record) error {
	if r.Message == l.message {
		l.heard <- struct{}{}
	}
	return nil
}
