package charter

import (
	"errors"
	"slices"
	"testing"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/peer"
)

func address(name string) peer.Address {
	return peer.Address{Node: core.NodeID(name), Key: core.DigestOf([]byte(name)), At: []string{name + ":1"}}
}

func example() *Charter {
	return &Charter{
		Hub: "hub-1", Line: ID{1, 2}, Service: "tiny3", Engine: "llm", Model: core.DigestOf([]byte("m")), Size: 9, Profile: "q8", Account: "alice",
		Stages: []Stage{{Node: address("a"), Last: 2}, {Node: address("b"), First: 2, Last: 3}, {Node: address("c"), First: 3, Last: 6, Team: []Mate{{address("c"), 3}, {address("d"), 1}}}}, Spares: []peer.Address{address("s")}, SealedMs: 5, TTLMs: 1000,
	}
}

func newKey(t testing.TB) *identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSeal(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	sealed, err := Seal(example(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(sealed, key.Public())
	if err != nil || c.Line != example().Line || c.Head().Node != "a" || len(c.Nodes()) != 5 || c.Stages[2].Last != 6 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Open(sealed, newKey(t).Public()); !errors.Is(err, identity.ErrOtherSeal) {
		t.Errorf("another hub's: %v", err)
	}
	sealed[len(sealed)-3] ^= 1
	if _, err := Open(sealed, key.Public()); err == nil {
		t.Error("a changed charter was taken")
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	for name, change := range map[string]func(*Charter){
		"no line":        func(c *Charter) { c.Line = ID{} },
		"no model":       func(c *Charter) { c.Model = core.Digest{} },
		"no time":        func(c *Charter) { c.TTLMs = 0 },
		"one stage":      func(c *Charter) { c.Stages = c.Stages[:1] },
		"a gap":          func(c *Charter) { c.Stages[1].First = 1 },
		"an empty stage": func(c *Charter) { c.Stages[1].Last = 2 },
		"a head's team":  func(c *Charter) { c.Stages[0].Team = []Mate{{address("a"), 1}, {address("z"), 1}} },
		"a team of one":  func(c *Charter) { c.Stages[2].Team = c.Stages[2].Team[:1] },
		"a large team":   func(c *Charter) { c.Stages[2].Team = append(c.Stages[2].Team, make([]Mate, MaxTeam)...) },
		"another leader": func(c *Charter) { c.Stages[2].Team[0].Node = address("b") },
		"no speed":       func(c *Charter) { c.Stages[2].Team[1].Speed = 0 },
		"many spares":    func(c *Charter) { c.Spares = make([]peer.Address, MaxSpares+1) },
	} {
		c := example()
		change(c)
		sealed, err := Seal(c, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(sealed, key.Public()); core.KindOf(err) != core.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Only the head that is named may have layers held, or the leader of a team shares of
// them, and only by whom they are for.
func TestAllow(t *testing.T) {
	t.Parallel()
	c := example()
	as := func(name, key string) peer.Peer {
		return peer.Peer{Node: core.NodeID(name), Key: address(key).Key}
	}
	head, lead, team := as("a", "a"), as("c", "c"), c.Stages[2].Team
	moved := slices.Clone(team)
	moved[1].Node.At = []string{"elsewhere:1"}
	other := slices.Clone(team)
	other[1].Speed++
	for _, x := range []struct {
		self core.NodeID
		from peer.Peer
		q    Claim
		ok   bool
	}{
		{"b", head, Claim{2, 3, nil, 0}, true},
		{"s", head, Claim{2, 3, nil, 0}, true},  // a spare takes anybody's place
		{"s", head, Claim{3, 6, nil, 0}, true},  // alone
		{"s", head, Claim{0, 2, nil, 0}, false}, // but the head's
		{"b", head, Claim{3, 6, nil, 0}, false},
		{"b", head, Claim{2, 6, nil, 0}, false},
		{"z", head, Claim{2, 3, nil, 0}, false},
		{"b", as("c", "c"), Claim{2, 3, nil, 0}, false},
		{"b", as("a", "z"), Claim{2, 3, nil, 0}, false}, // of the head's name, with another key

		{"c", head, Claim{3, 6, team, 0}, true},
		{"c", head, Claim{3, 6, moved, 0}, true},
		{"c", head, Claim{3, 6, nil, 0}, false}, // it lends a part of its memory alone
		{"c", head, Claim{3, 6, other, 0}, false},
		{"s", head, Claim{3, 6, team, 0}, false},
		{"b", head, Claim{2, 3, team, 0}, false},
		{"c", lead, Claim{3, 6, team, 0}, false},
		{"d", lead, Claim{3, 6, team, 1}, true},
		{"d", lead, Claim{3, 6, other, 1}, false},
		{"d", lead, Claim{3, 6, nil, 1}, false},
		{"d", lead, Claim{3, 6, team, 0}, false},
		{"d", lead, Claim{3, 6, team, 2}, false},
		{"d", lead, Claim{3, 6, team, -1}, false},
		{"c", lead, Claim{3, 6, team, 1}, false},
		{"d", lead, Claim{2, 3, team, 1}, false},
		{"d", head, Claim{3, 6, team, 1}, false},
		{"d", head, Claim{3, 6, nil, 0}, false},
		{"d", as("c", "z"), Claim{3, 6, team, 1}, false},
	} {
		if err := c.Allow(x.self, x.from, &x.q); (err == nil) != x.ok || err != nil && core.KindOf(err) != core.Forbidden {
			t.Errorf("%+v: %v", x, err)
		}
	}
}

func TestStateCheck(t *testing.T) {
	t.Parallel()
	good := State{Line: ID{1}, Stages: []Held{{Node: "a", Last: 2, Team: []Member{{"a", 1}, {"b", 2}}}}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	ready := State{Line: ID{1}, Ready: true, Stages: []Held{{Node: "a", Last: 2}, {Node: "b", First: 2, Last: 3}}}
	if err := ready.Check(); err != nil {
		t.Error(err)
	}
	for i, s := range []State{{}, {Line: ID{1}, Tokens: -1}, {Line: ID{1}, Ready: true}, {Line: ID{1}, Ready: true, Stages: []Held{{Node: "a", Last: 2}}}, {Line: ID{1}, Ready: true, Stages: []Held{{Node: "a", Last: 2}, {Node: "b", First: 3, Last: 4}}}, {Line: ID{1}, Stages: []Held{{Node: "a", First: 2, Last: 2}}}, {Line: ID{1}, Stages: []Held{{Node: "a", Last: 2, Team: []Member{{"a", 1}, {"b", 0}}}}}, {Line: ID{1}, Stages: []Held{{Node: "a", Last: 2, Team: make([]Member, MaxTeam+1)}}}, {Line: ID{1}, Stages: make([]Held, MaxStages+1)}} {
		if s.Check() == nil {
			t.Errorf("%d: taken", i)
		}
	}
}

// What a hub has sealed is read without harm, whatever it is.
func FuzzCharter(f *testing.F) {
	b, err := json.Marshal(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"line":"zz","stages":[{}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := parse(payload)
		if err != nil {
			return
		}
		if len(c.Nodes()) < 2 || c.Stages[0].First != 0 {
			t.Errorf("%+v", c)
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

func TestShare(t *testing.T) {
	t.Parallel()
	c := &Charter{Size: 1 << 62, Stages: []Stage{
		{Node: peer.Address{Node: "a"}, First: 0, Last: 4}, {Node: peer.Address{Node: "b"}, First: 4, Last: 5}, {Node: peer.Address{Node: "c"}, First: 5, Last: 7},
		{Node: peer.Address{Node: "d"}, First: 7, Last: 8, Team: []Mate{{peer.Address{Node: "d"}, 1}, {peer.Address{Node: "e"}, 1}}},
	}, Spares: []peer.Address{{Node: "s"}}}
	for node, sixteenths := range map[core.NodeID]int64{"a": 8, "b": 2, "c": 4, "d": 1, "e": 1, "s": 4} {
		if got := c.Share(node); got != sixteenths<<58 {
			t.Errorf("%s: %d of %d", node, got, c.Size)
		}
	}
}
