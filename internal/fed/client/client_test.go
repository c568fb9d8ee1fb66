package client

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/identity"
)

const specText = `{"name":"test","dataset":"rows","schema":{"fields":[{"name":"id","type":"integer"},{"name":"a","type":"number"},{"name":"y","type":"string"}],"primaryKey":["id"]},
	"features":{"inputs":[{"column":"a","as":"number"}],"label":{"column":"y","classes":["no","yes"]}},"model":{"kind":"logistic"},"rounds":9,"train":{"epochs":1,"batch":8,"rate":0.5}}`

// fakeHub tells of one federation.
type fakeHub struct{ terms api.SiteRoster }

func (h *fakeHub) Order(context.Context, *api.SiteReport) (core.FederationID, *fed.Order, error) {
	return 0, nil, nil
}
func (h *fakeHub) Terms(context.Context, core.FederationID) (api.SiteRoster, error) {
	return h.terms, nil
}
func (h *fakeHub) Reply(context.Context, core.FederationID, *fed.Reply) error { return nil }

// newTest returns a hub with a federation of three nodes, and a client of the first over a
// directory.
func newTest(t *testing.T, dir string, key *identity.Key) (*fakeHub, *Client) {
	t.Helper()
	h := &fakeHub{api.SiteRoster{Federation: 1, Spec: []byte(specText)}}
	for _, name := range []string{"own", "north", "south"} {
		k := key
		if name != "own" {
			var err error
			if k, err = identity.Generate(); err != nil {
				t.Fatal(err)
			}
		}
		h.terms.Members = append(h.terms.Members, api.FederationMember{Name: name, Key: k.Public().PEM()})
	}
	c, err := New(Config{Node: "own", Country: "FR", Key: key, Dir: dir, Hub: h, Threads: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.pool.Close() })
	return h, c
}

func newKey(t *testing.T) *identity.Key {
	t.Helper()
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A node begins no round that is older than one it has begun, also in another life; the
// journals of older ones are gone, and of a federation that is over all of them.
func TestOlderRounds(t *testing.T) {
	t.Parallel()
	dir, key := t.TempDir(), newKey(t)
	begin := func() *seat {
		_, c := newTest(t, dir, key)
		s := c.seat(1)
		if err := s.terms(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := begin()
	for _, round := range []int{2, 3} {
		if err := s.openRound(round); err != nil {
			t.Fatal(err)
		}
		j, err := s.journal(round, core.DigestOf(nil))
		if err == nil {
			_, err = j.Once("vector", []byte("masked"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "2")); !os.IsNotExist(err) {
		t.Errorf("the journals of round 2 are there: %v", err)
	}
	for _, s := range []*seat{s, begin()} {
		if err := s.openRound(2); core.KindOf(err) != core.Conflict {
			t.Errorf("round 2 after round 3: %v", err)
		}
	}
	s = begin()
	if err := s.openRound(3); err != nil {
		t.Errorf("round 3 again: %v", err)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "3")); !os.IsNotExist(err) {
		t.Errorf("the journals of round 3 are there: %v", err)
	}
	if err := begin().openRound(4); core.KindOf(err) != core.Conflict || !strings.Contains(err.Error(), "over") {
		t.Errorf("a round of a federation that is over: %v", err)
	}
}

// A node keeps the terms that it was told first, and takes no other node's place.
func TestTermsStay(t *testing.T) {
	t.Parallel()
	dir, key := t.TempDir(), newKey(t)
	_, c := newTest(t, dir, key)
	first := c.seat(1)
	if err := first.terms(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, c = newTest(t, dir, key) // with other members
	again := c.seat(1)
	if err := again.terms(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first.run != again.run {
		t.Error("the hub has changed the members")
	}
	h, c := newTest(t, t.TempDir(), key)
	h.terms.Members[0].Key = newKey(t).Public().PEM()
	if err := c.seat(1).terms(t.Context()); core.KindOf(err) != core.Forbidden {
		t.Errorf("under another key: %v", err)
	}
	h.terms.Members = h.terms.Members[1:]
	h.terms.Federation = 2
	if err := c.seat(2).terms(t.Context()); err == nil {
		t.Error("without this node")
	}
}
