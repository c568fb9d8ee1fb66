package fed

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/privacy"
	"atoll/internal/secagg"
)

// A lot draws as many sites as it should, each as often as another, and groups are of these.
func TestDraw(t *testing.T) {
	t.Parallel()
	for more, groups := range map[string]int{`,"sites":{"select":9}`: 1, `,"sites":{"select":9}` + medianOf3: 3} {
		p, err := NewPlan(spec(t, more), 12)
		if err != nil {
			t.Fatal(err)
		}
		// Of 8,000 lots each of 12 sites is in three quarters; 39 is the standard deviation.
		drawn := make([]int, 12)
		for i := range 8000 {
			var all []int
			dealt := p.Deal(core.DigestOf(fmt.Append(nil, i)))
			for _, g := range dealt {
				all = append(all, g...)
			}
			slices.Sort(all)
			if len(dealt) != groups || len(all) != 9 || len(slices.Compact(all)) != 9 {
				t.Fatalf("%v", dealt)
			}
			for _, s := range all {
				drawn[s]++
			}
		}
		for s, n := range drawn {
			if math.Abs(float64(n)-6000) > 6*39 {
				t.Errorf("site %d is in %d of 8000 lots", s, n)
			}
		}
	}
}

// What secure aggregation and noise must be follows from those drawn, and that the lot may
// draw all who work with the hub is counted in.
func TestDrawnTerms(t *testing.T) {
	t.Parallel()
	const site = `,"privacy":{"unit":"site","epsilon":8,"delta":1e-5}`
	plan := func(sites int, more string) *Plan {
		p, err := NewPlan(spec(t, more), sites)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	few, many := plan(10, site+`,"sites":{"corrupt":0.02}`), plan(40, site+`,"sites":{"corrupt":0.02,"select":10}`)
	if few.Threshold != 7 || many.Threshold != 7 || many.Drawn != 10 || math.Abs(many.variance/few.variance-1) > 1e-9 {
		t.Errorf("a sum of %d or %d, noise of %g and %g", few.Threshold, many.Threshold, few.variance, many.variance)
	}
	few, many = plan(10, site+`,"sites":{"corrupt":0.1}`), plan(40, site+`,"sites":{"corrupt":0.1,"select":10}`)
	if got := many.variance / few.variance; math.Abs(got-2) > 1e-9 { // 3 honest survivors of 7, not 6
		t.Errorf("%g times the noise", got)
	}
	if many.PerRound != plan(10, site+`,"sites":{"corrupt":0.1}`).PerRound {
		t.Error("privacy is counted as better because sites are drawn")
	}
	// Of 39 others 4 are corrupt; all of them among 9 are 126 in 82251.
	if got, want := many.Exposed(), 126.0/82251; math.Abs(got-want) > 1e-9 {
		t.Errorf("exposed in %g of rounds, want %g", got, want)
	}
	if few.Exposed() != 0 || few.Lot() != "" {
		t.Error("a cohort of all is none of a lot")
	}
	if got := many.Lot(); !strings.Contains(got, "10 of 40 sites") || !strings.Contains(got, "If 4 sites work with the hub") {
		t.Error(got)
	}
}

// A site takes part if the lot has drawn it, whatever the hub says.
func TestNotDrawn(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"", `,"secure":{"off":true}`} {
		w := newWorld(t, spec(t, `,"sites":{"select":5}`+more), 8, 1)
		if _, err := w.machine.Begin(w.now); err != nil {
			t.Fatal(err)
		}
		order := w.machine.cohorts[0].order
		in := w.plan.Deal(order.id())[0]
		for i, s := range w.sites {
			r := s.Handle(t.Context(), &order)
			if drawn := slices.Contains(in, i); drawn == strings.Contains(r.Refused, "has not drawn this site") {
				t.Errorf("site %d of %v: %q", i, in, r.Refused)
			} else if !drawn {
				r.Refused = ""
				if _, err := w.machine.Receive(r, w.now); core.KindOf(err) != core.Conflict {
					t.Errorf("site %d: %v", i, err)
				}
			}
		}
	}
}

// The sum is closed once enough have sent a vector. Who has not is late, is told so, and is
// in the next round.
func TestEnough(t *testing.T) {
	t.Parallel()
	const k = 5
	sites := map[string]int{`,"sites":{"enough":5}`: 7, `,"sites":{"select":7,"enough":5}`: 9, `,"sites":{"enough":5},"secure":{"off":true}`: 7}
	rapid.Check(t, func(rt *rapid.T) {
		more := rapid.SampledFrom(slices.Sorted(maps.Keys(sites))).Draw(rt, "spec")
		w := newWorld(t, spec(t, more), sites[more], rapid.Uint64().Draw(rt, "seed"))
		w.play(faults{
			lost: rapid.Float64Range(0, 0.3).Draw(rt, "lost"), doubled: rapid.Float64Range(0, 0.3).Draw(rt, "doubled"),
			siteCrash: rapid.Float64Range(0, 0.3).Draw(rt, "site crash"), hubCrash: rapid.Float64Range(0, 0.2).Draw(rt, "hub crash"),
		})
		state := w.machine.State()
		if state.Stopped != "" || len(state.Rounds) != 4 {
			rt.Fatalf("%d rounds, %s", len(state.Rounds), state.Stopped)
		}
		for _, r := range state.Rounds {
			if len(r.Sites) != k || r.Counts.Held != 10*k || len(r.Out) != 2 || !strings.Contains(r.Out[0].Why, "late: 5 others") || r.Attempts != 1 {
				rt.Errorf("%+v", r)
			}
		}
	})
	w := newWorld(t, spec(t, `,"sites":{"enough":5}`), 7, 1)
	if _, err := w.machine.Begin(w.now); err != nil {
		t.Fatal(err)
	}
	var late *Reply
	for late == nil {
		for _, o := range w.machine.Again() {
			r := w.answer(o)
			if o.Site == 2 && o.Order.Step == StepVector {
				late = r
				continue
			}
			w.deliver(r)
		}
	}
	if _, err := w.machine.Receive(late, w.now); core.KindOf(err) != core.Conflict {
		t.Errorf("a late vector: %v", err)
	}
}

// A hub that keeps an attempt back, and has other members drawn for the next, has the first
// opened by nobody who has gone on: not even after a crash.
func TestForward(t *testing.T) {
	t.Parallel()
	w := newWorld(t, spec(t, `,"sites":{"select":5}`), 6, 1)
	until := func(step Step) []Send {
		for {
			orders := w.machine.Again()
			if orders[0].Order.Step == step {
				return orders
			}
			for _, o := range orders {
				w.deliver(w.answer(o))
			}
		}
	}
	if _, err := w.machine.Begin(w.now); err != nil {
		t.Fatal(err)
	}
	first := until(StepOpening)
	second := w.machine.State()
	w.machine, w.replies = w.newMachine(&second), nil
	if _, err := w.machine.Begin(w.now); err != nil {
		t.Fatal(err)
	}
	until(StepSign)
	gone := w.plan.Deal(w.machine.cohorts[0].order.id())[0]
	for _, o := range first {
		r := w.site(o.Site).Handle(t.Context(), o.Order)
		if in := slices.Contains(gone, o.Site); in != strings.Contains(r.Refused, "sent a vector at attempt 2") || in == (r.Opening != nil) {
			t.Errorf("site %d, with %v gone on: %q", o.Site, gone, r.Refused)
		}
	}
}

// Some members are away the whole time, one comes back in the middle of a round, and is in
// the next one.
func TestLateSites(t *testing.T) {
	t.Parallel()
	back := false
	w := newWorld(t, spec(t, ""), 8, 3)
	w.play(faults{siteCrash: 0.2, hubCrash: 0.1, away: func(site int, o *Order) bool {
		back = back || o.Round == 2 && o.Step == StepVector
		return site == 7 || site == 2 && !back
	}})
	s := w.machine.State()
	if s.Stopped != "" || len(s.Rounds) != 4 {
		t.Fatal(s.Stopped)
	}
	for _, r := range s.Rounds {
		if slices.Contains(r.Sites, 7) || slices.Contains(r.Sites, 2) != (r.Number > 2) || len(r.Out) == 0 || r.Attempts != 1 {
			t.Errorf("%+v", r)
		}
	}
}

// What cannot be is refused, with the field.
func TestSelectRefused(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		`,"sites":{"select":-1}`:                     "-1 of",
		`,"sites":{"select":2}`:                      "2 members",
		`,"sites":{"select":5,"least":6}`:            "at least 6 sites of 5",
		`,"sites":{"select":9,"enough":6}`:           "with the vectors of 6 of 9 sites: want 7",
		`,"sites":{"select":9,"enough":10}`:          "with the vectors of 10 of 9",
		`,"sites":{"select":9,"enough":-1}`:          "with the vectors of -1",
		`,"sites":{"enough":9}` + medianOf3:          "too small to leave the slow ones out",
		`,"sites":{"select":8}` + medianOf3:          "8 sites are 2 groups of 3",
		`,"sites":{"select":1000000000}`:             "1000000000 of",
		`,"sites":{"select":9,"least":8,"enough":7}`: "want 8",
	} {
		s, err := Parse(fmt.Appendf(nil, specText, more))
		if err == nil {
			_, err = NewPlan(s, 9)
		}
		if core.KindOf(err) != core.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
	if _, err := NewPlan(spec(t, `,"sites":{"select":9}`), 8); err == nil || !strings.Contains(err.Error(), "9 of 8 sites") {
		t.Error(err)
	}
}

// Whatever is asked for together, secure aggregation among those of an attempt is within
// its bounds, a sum is closed with no fewer than can open it, and noise is for what is left
// of those who do not work with the hub.
func TestPlans(t *testing.T) {
	t.Parallel()
	possible := 0
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(3, 40).Draw(rt, "sites")
		some := func(name string, chance int) int {
			if rapid.IntRange(0, 9).Draw(rt, name+"?") >= chance {
				return 0
			}
			return rapid.IntRange(1, n).Draw(rt, name)
		}
		s := *spec(t, "")
		s.Sites.Select, s.Sites.Enough, s.Sites.Least = some("select", 5), some("enough", 3), some("least", 2)
		s.Sites.Corrupt = rapid.Float64Range(0.001, 1.0/3).Draw(rt, "corrupt")
		if k := some("buffer", 4); k > 0 {
			s.Async = &Async{Buffer: k, Staleness: 3}
		}
		if rapid.Bool().Draw(rt, "private") {
			s.Privacy = &Privacy{Unit: privacy.Site, Epsilon: 8, Delta: 1e-5}
		}
		p, err := NewPlan(&s, n)
		if err != nil {
			if core.KindOf(err) != core.Invalid {
				rt.Fatal(err)
			}
			return
		}
		possible++
		var members []secagg.Member
		for i := range n {
			members = append(members, secagg.Member{Name: fmt.Sprintf("site-%02d", i), Key: keys()[i].Public()})
		}
		id := core.Digest{byte(n)}
		cohort := p.Deal(id)[0]
		if s.Async != nil {
			cohort = cohort[n-p.Drawn:]
		}
		if err := p.params(id, members, cohort).Check(); err != nil || len(cohort) != p.Drawn {
			rt.Fatalf("%d of %d: %v", len(cohort), n, err)
		}
		if k := s.Sites.Enough; k != 0 && (k < p.Threshold || k > p.Drawn) || p.Threshold < s.Sites.Least {
			rt.Errorf("a sum of %d or more of %d, closed with %d", p.Threshold, p.Drawn, k)
		}
		if s.Privacy != nil {
			var honest float64 // survivors, at worst
			for _, term := range p.terms {
				honest = float64(term.threshold - min(p.corrupt(), term.threshold-1))
			}
			enough, err := privacy.Skellam(p.Grid.L1(), p.Grid.L2(), honest*p.variance, 1)
			if e, _ := enough.Times(s.Rounds).Epsilon(1e-5); err != nil || e > 8 {
				rt.Errorf("ε = %g with %g honest survivors", e, honest)
			}
		}
	})
	if possible == 0 {
		t.Error("no specification was possible")
	}
}
