package market

import (
	"slices"
	"testing"
	"time"

	"atoll/internal/core"
)

var big = core.DigestOf([]byte("a model of gigabytes"))

func TestStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		size   int64
		rate   int64
		loaded []core.Digest
		want   time.Duration
	}{
		{"has it loaded", 4 << 30, 0, []core.Digest{{1}, big}, 0},
		{"has others loaded", 4 << 30, 1 << 30, []core.Digest{{1}}, 4 * time.Second},
		{"nothing is known", 200 << 20, 0, nil, 2 * time.Second},
		{"says it is a snail", 10 << 20, 1, nil, 10 * time.Second},
		{"says it is lightning", 4 << 30, 1 << 60, nil, time.Second},
		{"a small model", smallModel - 1, 1, nil, 0},
	} {
		r := Request{Model: big, ModelSize: c.size}
		if got := r.Start(&Offer{Loaded: c.loaded, LoadRate: c.rate}); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// A request goes to a node that has its model loaded, as long as the others are not
// so much cheaper, more reliable or freer that waiting for them is worth it.
func TestWarmIsPreferred(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		size int64
		edit func(warm, cold *Offer)
		want string
	}{
		{"all else equal", 2 << 30, func(_, _ *Offer) {}, "warm"},
		{"it is known to take a minute", 2 << 30, func(o, _ *Offer) { o.P50Ms = 60_000 }, "warm"},
		{"the others are known to be faster by more than it takes to load", 2 << 30, func(o, c *Offer) { o.P50Ms, c.P50Ms = 60_000, 1_000 }, "cold"},
		{"the others are twice as cheap", 2 << 30, func(_, o *Offer) { o.Price = 50 }, "warm"},
		{"the others are ten times as cheap", 2 << 30, func(_, o *Offer) { o.Price = 10 }, "cold"},
		{"the others are twice as cheap, and the model is not large", 20 << 20, func(_, o *Offer) { o.Price = 50 }, "cold"},
		{"it has much to do", 2 << 30, func(o, _ *Offer) { o.InFlight = 6 }, "cold"},
		{"it is full", 2 << 30, func(o, _ *Offer) { o.InFlight = o.Queue }, "cold"},
		{"it is not reliable", 2 << 30, func(o, _ *Offer) { o.P5 = 0.1 }, "cold"},
		{"it may not", 2 << 30, func(o, _ *Offer) { o.Country = "US" }, "cold"},
		{"it costs too much", 2 << 30, func(o, _ *Offer) { o.Price = 1001 }, "cold"},
		{"a newcomer is not tried who would have to load it", 2 << 30, func(_, o *Offer) { o.Seen = 0 }, "warm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			warm, cold := offer("warm", "alice", "FR", 100), offer("cold", "bob", "FR", 100)
			warm.Loaded = []core.Digest{big}
			c.edit(warm, cold)
			r := request(t, "EU")
			r.Model, r.ModelSize = big, c.size
			for seed := range uint64(100) {
				if got := nodes(Place(r, []*Offer{cold, warm}, nil, "", 1, 1000, seed)); got != c.want {
					t.Fatalf("seed %d: got %q, want %q", seed, got, c.want)
				}
			}
		})
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		edit   func(o map[core.NodeID]*Offer)
		before []core.NodeID
		n      int
		want   []string
	}{
		{"the cheapest", func(map[core.NodeID]*Offer) {}, nil, 1, []string{"bonn-1"}},
		{"for each replica, of distinct owners", func(map[core.NodeID]*Offer) {}, nil, 3, []string{"bonn-1", "paris-1", "rome-1"}},
		{"who has it already", func(o map[core.NodeID]*Offer) { o["rome-1"].Loaded = []core.Digest{big} }, nil, 1, []string{"rome-1"}},
		{"who was asked to load it", func(map[core.NodeID]*Offer) {}, []core.NodeID{"rome-1"}, 1, []string{"rome-1"}},
		{"another when it has gone", func(o map[core.NodeID]*Offer) { o["rome-1"].Up = false }, []core.NodeID{"rome-1"}, 1, []string{"bonn-1"}},
		{"the cheaper of two that have it", func(o map[core.NodeID]*Offer) { o["paris-1"].Loaded = []core.Digest{big} }, []core.NodeID{"rome-1"}, 1, []string{"paris-1"}},
		{"busy or not", func(o map[core.NodeID]*Offer) { o["bonn-1"].InFlight = 8 }, nil, 1, []string{"bonn-1"}},
		{"none that costs too much", func(o map[core.NodeID]*Offer) { o["bonn-1"].Price = 1001 }, nil, 1, []string{"paris-1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			all := []*Offer{offer("paris-1", "alice", "FR", 30), offer("paris-2", "alice", "FR", 31), offer("rome-1", "bob", "IT", 40), offer("bonn-1", "carol", "DE", 20), offer("ohio-1", "erin", "US", 1)}
			byName := map[core.NodeID]*Offer{}
			for _, o := range all {
				byName[o.Node] = o
			}
			c.edit(byName)
			r := request(t, "EU")
			r.Model, r.ModelSize = big, 1<<30
			var got []string
			for _, o := range r.Keep(all, c.before, c.n, 1000) {
				got = append(got, string(o.Node))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
