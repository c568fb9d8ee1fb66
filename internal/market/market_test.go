package market

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/policy"
)

func offer(node, owner, country string, price core.Money) *Offer {
	return &Offer{Node: core.NodeID(node), Owner: core.AccountID(owner), Country: country, Price: price, Up: true, Engines: []string{"text"}, Arch: "amd64", CPUMillis: 2000, Memory: 1 << 30, Slots: 2, Queue: 8, Mean: 0.9, P5: 0.8, Seen: 100}
}

func request(t testing.TB, residency ...string) *Request {
	t.Helper()
	res, err := policy.Parse(residency)
	if err != nil {
		t.Fatal(err)
	}
	return &Request{Account: "demo", Engine: "text", Residency: res, Distinct: true}
}

func nodes(c Choice) string {
	var s []string
	for _, o := range c.Offers {
		s = append(s, string(o.Node))
	}
	return strings.Join(s, " ")
}

func TestPlace(t *testing.T) {
	t.Parallel()
	all := []*Offer{
		offer("paris-1", "alice", "FR", 30), offer("paris-2", "alice", "FR", 31),
		offer("rome-1", "bob", "IT", 40), offer("bonn-1", "carol", "DE", 20), offer("ohio-1", "erin", "US", 1),
	}
	for _, c := range []struct {
		name   string
		n      int
		budget core.Money
		used   []Used
		want   string
	}{
		{"cheapest, one of each owner, none outside", 3, 1000, nil, "bonn-1 paris-1 rome-1"},
		{"no fourth owner", 4, 1000, nil, "bonn-1 paris-1 rome-1"},
		{"budget ends the list", 3, 55, nil, "bonn-1 paris-1"},
		{"an owner who holds one gets no second", 2, 1000, []Used{{Node: "paris-1", Owner: "alice", Counted: true}}, "bonn-1 rome-1"},
		{"who lost it is the last resort", 3, 1000, []Used{{Node: "bonn-1", Owner: "carol"}}, "paris-1 rome-1 bonn-1"},
		{"who declined is not asked again", 3, 1000, []Used{{Node: "bonn-1", Owner: "carol", Barred: true}}, "paris-1 rome-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := nodes(Place(request(t, "EU"), all, c.used, "", c.n, c.budget, 1)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		edit func(*Request, *Offer)
		want string
	}{
		{"fits", func(*Request, *Offer) {}, ""},
		{"residency", func(_ *Request, o *Offer) { o.Country = "US" }, "residency EU"},
		{"down", func(_ *Request, o *Offer) { o.Up = false }, "not heard of"},
		{"draining", func(_ *Request, o *Offer) { o.Draining = true }, "draining"},
		{"drained and gone", func(_ *Request, o *Offer) { o.Draining, o.Up = true, false }, "draining"},
		{"engine", func(r *Request, _ *Offer) { r.Engine = "wasm" }, "engine wasm"},
		{"own server is down", func(r *Request, _ *Offer) { r.Upstream = "qwen" }, "down or has no models"},
		{"own server has others", func(r *Request, o *Offer) { r.Upstream, o.Upstreams = "qwen", []string{"phi", "owl"} }, "does not have the model qwen, only phi, owl"},
		{"own server has it", func(r *Request, o *Offer) { r.Upstream, o.Upstreams = "qwen", []string{"phi", "qwen"} }, ""},
		{"account", func(_ *Request, o *Offer) { o.Accounts = []core.AccountID{"other"} }, "does not serve"},
		{"region", func(r *Request, _ *Offer) { r.Regions = []string{"eu-west"} }, "region"},
		{"labels", func(r *Request, _ *Offer) { r.Selector, _ = policy.ParseSelector("tier=gold") }, "labels"},
		{"cpu", func(r *Request, _ *Offer) { r.CPUMillis = 4000 }, "CPU"},
		{"memory", func(r *Request, _ *Offer) { r.Memory = 2 << 30 }, "memory"},
		{"gpu", func(r *Request, _ *Offer) { r.GPUs = 1 }, "GPU"},
		{"reliability", func(r *Request, _ *Offer) { r.MinReliability = 0.95 }, "reliability"},
		{"suspect, all is checked", func(_ *Request, o *Offer) { o.Suspect = true }, ""},
		{"suspect, a sample is checked", func(r *Request, o *Offer) { r.Trusting, o.Suspect = true, true }, "wrong result lately"},
		{"suspect, its owner's work", func(r *Request, o *Offer) { r.Trusting, o.Suspect, o.Owner = true, true, r.Account }, ""},
		{"price", func(_ *Request, o *Offer) { o.Price = 101 }, "budget"},
		{"full", func(_ *Request, o *Offer) { o.InFlight = o.Queue }, "slots"},
	} {
		r, o := request(t, "EU"), offer("paris-1", "alice", "FR", 10)
		c.edit(r, o)
		if got := r.Why(o, nil, "", 100); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want it to speak of %q", c.name, got, c.want)
		}
	}
	r := request(t)
	if why := r.Why(offer("a", "a", "FR", 1), nil, "arm64", 100); !strings.Contains(why, "arm64") {
		t.Errorf("another platform class under floats: got %q", why)
	}
}

// Whatever is on offer, no lease leaves the allowed countries, no owner gets two
// replicas, no node more than it takes, and the sum stays within the budget.
func TestPlaceKeepsItsPromises(t *testing.T) {
	t.Parallel()
	countries := []string{"FR", "DE", "US", "CH", "NO", "IT", "BR", ""}
	groups := []string{"EU", "EEA", "FR", "US", "CH"}
	rapid.Check(t, func(t *rapid.T) {
		res, err := policy.Parse(rapid.SliceOfNDistinct(rapid.SampledFrom(groups), 1, 3, rapid.ID[string]).Draw(t, "residency"))
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{Engine: "text", Residency: res, Distinct: rapid.Bool().Draw(t, "distinct")}
		var offers []*Offer
		for i := range rapid.IntRange(0, 12).Draw(t, "offers") {
			o := offer(fmt.Sprint("n", i), rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "owner"), rapid.SampledFrom(countries).Draw(t, "country"), core.Money(rapid.IntRange(0, 50).Draw(t, "price")))
			o.InFlight = rapid.IntRange(0, 9).Draw(t, "in flight")
			o.Up = rapid.IntRange(0, 4).Draw(t, "up") > 0
			o.Seen = float64(rapid.IntRange(0, 20).Draw(t, "seen"))
			o.P5 = rapid.Float64Range(0, 1).Draw(t, "p5")
			offers = append(offers, o)
		}
		n := rapid.IntRange(1, 5).Draw(t, "n")
		budget := core.Money(rapid.IntRange(0, 120).Draw(t, "budget"))
		seed := rapid.Uint64().Draw(t, "seed")
		c := Place(r, offers, nil, "", n, budget, seed)
		if len(c.Offers) > n {
			t.Fatalf("%d placed, %d asked for", len(c.Offers), n)
		}
		owners, seen, sum := map[core.AccountID]bool{}, map[*Offer]bool{}, core.Money(0)
		for _, o := range c.Offers {
			if !res.Allows(o.Country) {
				t.Fatalf("%s in %q is outside %v", o.Node, o.Country, res.Resolved())
			}
			if r.Distinct && owners[o.Owner] {
				t.Fatalf("owner %s got two replicas", o.Owner)
			}
			if seen[o] || !o.Up || o.InFlight >= o.Queue {
				t.Fatalf("%s cannot take it: %+v", o.Node, o)
			}
			owners[o.Owner], seen[o] = true, true
			sum += o.Price
		}
		if sum > budget {
			t.Fatalf("costs %d of %d", sum, budget)
		}
		if again := Place(r, offers, nil, "", n, budget, seed); nodes(again) != nodes(c) {
			t.Fatalf("the same seed placed %q, then %q", nodes(c), nodes(again))
		}
	})
}

// A newcomer gets a share, but a small one.
func TestExploration(t *testing.T) {
	t.Parallel()
	r := request(t)
	proven, newcomer := offer("old", "a", "FR", 10), offer("new", "b", "FR", 10)
	newcomer.P5, newcomer.Mean, newcomer.Seen = 0.05, 0.5, 0
	got := 0
	const rounds = 4000
	for seed := range uint64(rounds) {
		if c := Place(r, []*Offer{proven, newcomer}, nil, "", 1, 100, seed); c.Offers[0] == newcomer {
			got++
		}
	}
	if share := float64(got) / rounds; share < 0.01 || share > exploreShare {
		t.Errorf("the newcomer got %.3f of the leases, want a little, up to %.2f", share, exploreShare)
	}
}

func BenchmarkPlace(b *testing.B) {
	r := request(b, "EU")
	var offers []*Offer
	for i := range 100 {
		offers = append(offers, offer(fmt.Sprint("n", i), fmt.Sprint("o", i%20), "FR", core.Money(10+i)))
	}
	for b.Loop() {
		Place(r, offers, nil, "", 3, 1000, 7)
	}
}
