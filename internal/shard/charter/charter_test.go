package charter

import (
	"errors"
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
		Stages: []Stage{{address("a"), 0, 2}, {address("b"), 2, 3}, {address("c"), 3, 6}}, Spares: []peer.Address{address("s")}, SealedMs: 5, TTLMs: 1000,
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
	if err != nil || c.Line != example().Line || c.Head().Node != "a" || len(c.Nodes()) != 4 || c.Stages[2].Last != 6 {
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

// Only the head that is named may have layers held, and only by whom they are for.
func TestAllow(t *testing.T) {
	t.Parallel()
	c := example()
	head := peer.Peer{Node: "a", Key: address("a").Key}
	for _, x := range []struct {
		self        core.NodeID
		head        peer.Peer
		first, last int
		ok          bool
	}{
		{"b", head, 2, 3, true},
		{"c", head, 3, 6, true},
		{"s", head, 2, 3, true}, // a spare takes anybody's place
		{"s", head, 3, 6, true},
		{"s", head, 0, 2, false}, // but the head's
		{"b", head, 3, 6, false},
		{"b", head, 2, 6, false},
		{"z", head, 2, 3, false},
		{"b", peer.Peer{Node: "c", Key: address("c").Key}, 2, 3, false},
		{"b", peer.Peer{Node: "a", Key: address("z").Key}, 2, 3, false}, // of the head's name, with another key
	} {
		if err := c.Allow(x.self, x.head, x.first, x.last); (err == nil) != x.ok || err != nil && core.KindOf(err) != core.Forbidden {
			t.Errorf("%+v: %v", x, err)
		}
	}
}

func TestStateCheck(t *testing.T) {
	t.Parallel()
	good := State{Line: ID{1}, Stages: []Held{{"a", 0, 2}}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for i, s := range []State{{}, {Line: ID{1}, Tokens: -1}, {Line: ID{1}, Stages: []Held{{"a", 2, 2}}}, {Line: ID{1}, Stages: make([]Held, MaxStages+1)}} {
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
		{Node: peer.Address{Node: "a"}, First: 0, Last: 4}, {Node: peer.Address{Node: "b"}, First: 4, Last: 5}, {Node: peer.Address{Node: "c"}, First: 5, Last: 8},
	}, Spares: []peer.Address{{Node: "s"}}}
	for node, eighths := range map[core.NodeID]int64{"a": 4, "b": 1, "c": 3, "s": 3} {
		if got := c.Share(node); got != eighths<<59 {
			t.Errorf("%s: %d of %d", node, got, c.Size)
		}
	}
}
