package node

import (
	"slices"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/peer"
	"atoll/internal/peer/relay"
	"atoll/internal/shard/charter"
)

// Nodes give chunks of a model to those that the hub has told them hold layers of it, too,
// for as long as it says so.
func TestFellows(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	f := &fellows{now: func() time.Time { return now }}
	model := core.Digest{1}
	a, b, spare := peer.Address{Node: "a", Key: core.Digest{10}}, peer.Address{Node: "b", Key: core.Digest{11}}, peer.Address{Node: "s", Key: core.Digest{12}}
	told := func(sealedMs int64, nodes ...peer.Address) {
		c := &charter.Charter{Line: charter.ID{1}, Model: model, SealedMs: sealedMs, TTLMs: 1000, Spares: []peer.Address{spare}}
		for _, n := range nodes {
			c.Stages = append(c.Stages, charter.Stage{Node: n})
		}
		f.told(c)
	}
	may := func(n peer.Address, d core.Digest) bool {
		err := f.allow(t.Context(), peer.Peer{Node: n.Node, Key: n.Key}, d)
		if err != nil && core.KindOf(err) != core.Forbidden {
			t.Errorf("refused with %v", err)
		}
		return err == nil
	}
	if len(f.of(model)) != 0 || may(a, model) {
		t.Error("before it is told of a line")
	}
	told(5, a, b)
	told(4, a) // overtaken on its way
	thief := a
	thief.Key = core.Digest{99}
	if len(f.of(model)) != 3 || !may(a, model) || !may(b, model) || !may(spare, model) || may(thief, model) || may(a, core.Digest{2}) {
		t.Errorf("fellows: %v", f.of(model))
	}
	a.At, b.At, spare.At = []string{"10.0.0.1:8430", relay.Address("a")}, []string{relay.Address("b")}, nil
	told(6, a, b)
	if got := f.sources(model); len(got) != 1 || got[0].Node != "a" || !slices.Equal(got[0].At, a.At[:1]) {
		t.Errorf("sources that cost the hub nothing: %v", got)
	}
	now = now.Add(900 * time.Millisecond)
	told(7, a)
	now = now.Add(900 * time.Millisecond)
	if !may(a, model) || may(b, model) {
		t.Error("after the line has changed")
	}
	now = now.Add(200 * time.Millisecond)
	if len(f.of(model)) != 0 || may(a, model) {
		t.Error("after the charter has expired")
	}
}
