package llm

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/peer"
	"atoll/internal/shard"
	"atoll/internal/shard/charter"
)

// A charter is good for its time from when it was last heard; what is older than what was
// heard is not, and does not bring a line back that is over.
func TestCharters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, err := New(Config{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		e.Join(engine.Neighbours{Self: peer.Address{Node: "me"}, Open: func(context.Context, peer.Address, string) (peer.Stream, error) { return nil, peer.ErrUnreachable }})
		say := func(sealed, ttl int64) {
			e.Charter(&charter.Charter{
				Line: charter.ID{1}, Model: core.DigestOf([]byte("m")), Size: 1, Engine: "llm", SealedMs: sealed, TTLMs: ttl,
				Stages: []charter.Stage{{Node: peer.Address{Node: "head"}, Last: 1}, {Node: peer.Address{Node: "me"}, First: 1, Last: 2}},
			})
		}
		want := func(holds bool) {
			t.Helper()
			synctest.Wait()
			e.lines.mu.Lock()
			defer e.lines.mu.Unlock()
			if ok := e.lines.told.Of(charter.ID{1}, time.Now()) != nil; ok != holds {
				t.Errorf("it may hold layers: %v, want %v", ok, holds)
			}
		}
		say(100, 1000)
		want(true)
		time.Sleep(900 * time.Millisecond)
		say(200, 1000)
		time.Sleep(900 * time.Millisecond)
		want(true)
		say(150, 5000) // a late one
		time.Sleep(200 * time.Millisecond)
		want(false)
		say(200, 1000) // said again
		want(false)
		say(300, 1000)
		want(true)
		say(400, charter.Over)
		time.Sleep(10 * time.Millisecond)
		want(false)
		say(350, 1000)
		say(500, charter.Over) // of a line that is not known
		want(false)
		say(600, 1000)
		want(true)
	})
}

// A seat in a team is for those whom the charter names in it, and of the model and profile
// that it names.
func TestSeatsInTeams(t *testing.T) {
	t.Parallel()
	e, err := New(Config{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	me, head, lead, model := peer.Address{Node: "me"}, peer.Address{Node: "head"}, peer.Address{Node: "lead"}, core.DigestOf([]byte("m"))
	e.Join(engine.Neighbours{Self: me})
	team := []charter.Mate{{Node: lead, Speed: 2}, {Node: me, Speed: 1}}
	e.Charter(&charter.Charter{
		Line: charter.ID{1}, Model: model, Profile: "q8", Size: 1, Engine: "llm", SealedMs: 1, TTLMs: 1 << 30,
		Stages: []charter.Stage{{Node: head, Last: 1}, {Node: lead, First: 1, Last: 2, Team: team}},
	})
	good := shard.Seat{Line: charter.ID{1}, Model: model, Profile: "q8", First: 1, Last: 2, Team: team, Member: 1}
	for name, x := range map[string]struct {
		from   core.NodeID
		change func(*shard.Seat)
		ok     bool
	}{
		"its leader":      {"lead", func(*shard.Seat) {}, true},
		"the head":        {"head", func(*shard.Seat) {}, false},
		"another model":   {"lead", func(s *shard.Seat) { s.Model = core.DigestOf([]byte("n")) }, false},
		"another profile": {"lead", func(s *shard.Seat) { s.Profile = "f32" }, false},
		"another share":   {"lead", func(s *shard.Seat) { s.Team = []charter.Mate{{Node: lead, Speed: 1}, {Node: me, Speed: 2}} }, false},
		"all of it":       {"head", func(s *shard.Seat) { s.Team, s.Member = nil, 0 }, false},
	} {
		seat := good
		x.change(&seat)
		if err := e.lines.allow(t.Context(), peer.Peer{Node: x.from}, &seat); (err == nil) != x.ok || err != nil && core.KindOf(err) != core.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}
