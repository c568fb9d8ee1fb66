package fed

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"atoll/internal/core"
)

const medianOf3 = `,"robust":{"rule":"median","group":3}`

// A lot puts each site into one group, sizes differ by one at most, and another attempt
// has another lot, which all compute alike.
func TestDeal(t *testing.T) {
	t.Parallel()
	for _, n := range []int{9, 10, 11, 40} {
		p, err := NewPlan(spec(t, medianOf3), n)
		if err != nil {
			t.Fatal(err)
		}
		one, two := p.Deal(core.Digest{1}), p.Deal(core.Digest{2})
		if fmt.Sprint(one) == fmt.Sprint(two) || fmt.Sprint(one) != fmt.Sprint(p.Deal(core.Digest{1})) {
			t.Errorf("%d sites: %v, then %v", n, one, two)
		}
		var all []int
		for _, g := range one {
			if !slices.Contains(p.sizes(), len(g)) || !slices.IsSorted(g) {
				t.Errorf("%d sites: a group %v, want of %v", n, g, p.sizes())
			}
			all = append(all, g...)
		}
		if slices.Sort(all); len(one) != n/3 || len(all) != n || len(slices.Compact(all)) != n {
			t.Errorf("%d sites: %v", n, one)
		}
	}
	// A site is as often with one as with another: of 20,000 lots a pair is together in 2 of
	// 8, and 61 is the standard deviation.
	p, err := NewPlan(spec(t, medianOf3), 9)
	if err != nil {
		t.Fatal(err)
	}
	together := make([]int, 9)
	for i := range 20_000 {
		for _, g := range p.Deal(core.DigestOf(fmt.Append(nil, i))) {
			if slices.Contains(g, 0) {
				for _, j := range g {
					together[j]++
				}
			}
		}
	}
	for j, n := range together[1:] {
		if math.Abs(float64(n)-5000) > 6*61 {
			t.Errorf("site %d is with the first in %d of 20000 lots", j+1, n)
		}
	}
}

// A group that a site of leaves is out of the round, with the reason, and the others go on.
func TestGroupFails(t *testing.T) {
	t.Parallel()
	for _, step := range []Step{StepKeys, StepVector, StepSign} {
		w := newWorld(t, spec(t, medianOf3), 12, 3)
		w.play(faults{out: map[int]Step{2: step}})
		s := w.machine.State()
		if s.Stopped != "" || len(s.Rounds) != 4 {
			t.Fatalf("%s: %s", step, s.Stopped)
		}
		for _, r := range s.Rounds {
			if len(r.Sites) != 9 || len(r.Groups) != 4 || len(r.Out) != 3 || r.Attempts != 1 || r.Counts.Held != 90 {
				t.Errorf("%s: %+v", step, r)
			}
			for _, g := range r.Groups {
				if failed := slices.Contains(g.Sites, 2); failed != strings.Contains(g.Why, "2 of 3 members") {
					t.Errorf("%s: %+v", step, g)
				}
			}
			for _, o := range r.Out {
				if want := map[bool]string{true: "no " + string(step), false: "its group: 2 of 3 members"}[o.Site == 2]; !strings.Contains(o.Why, want) {
					t.Errorf("%s: %+v", step, o)
				}
			}
		}
	}
}

// A hub that is made anew waits for the group that had failed once more, and has the other
// groups' openings already: it asks for nothing twice, and lets no deadline pass in vain.
func TestGroupFailsAndHubCrashes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		w := newWorld(t, spec(t, medianOf3), 12, seed)
		w.play(faults{out: map[int]Step{2: StepVector}, hubCrash: 0.1})
		s := w.machine.State()
		if s.Stopped != "" || len(s.Rounds) != 4 {
			t.Fatalf("seed %d: %s", seed, s.Stopped)
		}
		for _, r := range s.Rounds {
			if took := r.EndedMs - r.BeganMs; len(r.Sites) != 9 || took > 90_000 {
				t.Errorf("seed %d, round %d: %d sites, %d ms", seed, r.Number, len(r.Sites), took)
			}
		}
	}
}

// Where too few groups are left nobody is asked to open masks, and the round begins anew
// with another lot; in the end the run stops, with the reason.
func TestTooFewGroups(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{"": "of 4 groups are left", `,"sites":{"least":11}`: "9 sites are left in 3 groups: want 11"} {
		w := newWorld(t, spec(t, medianOf3+more), 12, 3)
		out := map[int]Step{0: StepSign}
		if more == "" {
			out = map[int]Step{0: StepVector, 1: StepVector, 2: StepVector, 3: StepVector, 4: StepVector, 5: StepVector, 6: StepVector}
		}
		w.play(faults{out: out})
		if s := w.machine.State(); !strings.Contains(s.Stopped, want) || !strings.Contains(s.Stopped, "at attempt 5") || len(s.Rounds) != 0 {
			t.Errorf("%+v", s.Stopped)
		}
		if w.opened > 0 {
			t.Errorf("%d sites are asked to open their masks in vain", w.opened)
		}
	}
}

// A site that does not keep to the clip has its group refused by name; without groups
// there is nothing to go on with.
func TestTooLong(t *testing.T) {
	t.Parallel()
	poison := func(s *Site, o *Order) *Reply {
		if s.self != 4 || o.Round > 3 {
			return nil
		}
		words := make([]uint32, s.c.Plan.Dim())
		for i := range s.c.Plan.Grid.Len() {
			words[i] = uint32(10 * s.c.Plan.Grid.Level())
		}
		s.c.Plan.Words.Modulus.Reduce(words)
		v, in, err := s.client.Mask(o.Inbox, words)
		if err != nil {
			t.Error(err)
		}
		return &Reply{At: o.At, Site: s.self, Vector: v, Included: &in}
	}
	w := newWorld(t, spec(t, medianOf3), 12, 3)
	w.poison = poison
	w.play(faults{})
	s := w.machine.State()
	if s.Stopped != "" || len(s.Rounds) != 4 {
		t.Fatal(s.Stopped)
	}
	for _, r := range s.Rounds[:3] {
		for _, g := range r.Groups {
			if long := strings.Contains(g.Why, "has a length of") && strings.Contains(g.Why, "site-04"); long != slices.Contains(g.Sites, 4) {
				t.Errorf("round %d: %+v", r.Number, g)
			}
		}
	}
	w = newWorld(t, spec(t, ""), 5, 3)
	w.poison = poison
	w.play(faults{})
	if s := w.machine.State(); !strings.Contains(s.Stopped, "one of them poisons the model") {
		t.Error(s.Stopped)
	}
}

// The hub sees the sum of a group: so the noise of its fewest honest survivors must do
// alone what that of all sites does without groups.
func TestGroupNoise(t *testing.T) {
	t.Parallel()
	const site = `,"privacy":{"unit":"site","epsilon":8,"delta":1e-5}`
	variance := func(sites int, more string) float64 {
		p, err := NewPlan(spec(t, more), sites)
		if err != nil {
			t.Fatal(err)
		}
		return p.variance
	}
	all := variance(30, site) // 21 survivors, of which 10 may tell the hub: 11 honest
	for more, honest := range map[string]float64{
		`,"sites":{"corrupt":0.3333}` + medianOf3:                                        1, // both others
		`,"sites":{"corrupt":0.01}` + medianOf3:                                          3, // int(0.3): nobody
		`,"sites":{"corrupt":0.1}` + `,"robust":{"rule":"median","group":10}`:            4, // of 7 survivors
		`,"sites":{"corrupt":0.1}` + `,"robust":{"rule":"trimmed","trim":0.2,"group":6}`: 2, // of 5
	} {
		if got := variance(30, site+more) * honest / all / 11; math.Abs(got-1) > 1e-9 {
			t.Errorf("%s: the noise of the fewest honest survivors of a group is %g of what it must be", more, got)
		}
	}
	w := newWorld(t, spec(t, medianOf3+site), 9, 1)
	w.play(faults{siteCrash: 0.2})
	if s := w.machine.State(); len(s.Rounds) != 3 || s.Stopped != "" || s.Rounds[2].Epsilon > 8 || s.Rounds[2].Epsilon < 7 {
		t.Errorf("%+v", s)
	}
}

// What a rule is worth is said before anybody runs it, and what cannot be is refused.
func TestRobustness(t *testing.T) {
	t.Parallel()
	p, err := NewPlan(spec(t, medianOf3), 30)
	if err != nil {
		t.Fatal(err)
	}
	// Of 29 others 10 are corrupt: both of a group are with a chance of 10·9 of 29·28.
	r := p.Robustness()
	if want := 90.0 / 812; r.Groups != 10 || r.Withstands != 4 || math.Round(100*r.Tainted20) != 49 || math.Abs(r.Poisoners-0.206) > 1e-3 || math.Abs(r.Exposed-want) > 1e-9 {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"median of 10 groups of 3 sites", "withstands: 4,", "at 50 % tainted", "which 21 % of sites", "10 % taint 27 % of groups, 20 % taint 49 %", "If 10 sites work with the hub, a site's group hides it not at all in 0.11 of rounds"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("%s\nwant %s", r, want)
		}
	}
	if p.Threshold != 3 || p.least != 16 || p.Words.Modulus >= 20 {
		t.Errorf("a sum of %d, %d in a round, words of %d bits", p.Threshold, p.least, p.Words.Modulus)
	}
	if p, err = NewPlan(spec(t, ""), 30); err != nil || p.Robustness() != nil {
		t.Errorf("%v, %+v", err, p)
	}
	for more, want := range map[string]string{
		`,"robust":{"rule":"median","group":2}`:                       "groups of 2 sites: want 3",
		`,"robust":{"rule":"median","group":0},"secure":{"off":true}`: "groups of 0 sites: want 1",
		`,"robust":{"rule":"median","group":-3}`:                      "groups of -3",
		`,"robust":{"rule":"mean","group":3}`:                         "want median or trimmed",
		`,"robust":{"rule":"trimmed","group":3}`:                      "share of 0 is trimmed",
		`,"robust":{"rule":"median","group":3,"trim":0.2}`:            "a median trims nothing",
		`,"robust":{"rule":"trimmed","group":3,"trim":1e-300}`:        "leaves none out",
		`,"robust":{"rule":"median","group":3},"weights":{"rows":9}`:  "all sites count alike",
		`,"robust":{"rule":"median","group":1000000000000000000}`:     "groups",
		`,"robust":{"rule":"median","group":3,"size":4}`:              "size",
	} {
		if _, err := Parse(fmt.Appendf(nil, specText, more)); core.KindOf(err) != core.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
	for n, want := range map[int]string{8: "8 sites are 2 groups of 3", 12: ""} {
		if _, err := NewPlan(spec(t, medianOf3), n); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d sites: %v", n, err)
		}
	}
	trim := spec(t, `,"robust":{"rule":"trimmed","trim":0.2,"group":3}`)
	if _, err := NewPlan(trim, 12); err == nil || !strings.Contains(err.Error(), "0.2 of 4 groups leaves none out") {
		t.Error(err)
	}
}
