package fed

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/privacy"
)

const buffersOf4 = `,"rounds":8,"async":{"buffer":4,"staleness":2},"sites":{"corrupt":0.1}`

// asyncSpec is a Spec of more rounds than the others' have.
func asyncSpec(t testing.TB, more string) *Spec {
	t.Helper()
	s, err := Parse(fmt.Appendf(nil, strings.Replace(specText, `,"rounds":3`, "", 1), buffersOf4+more))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Buffers are of those who are ready first. Whatever is lost, doubled or crashes, no update
// is in two buffers, none is older than it may be, and each training is charged once.
func TestBuffers(t *testing.T) {
	t.Parallel()
	old := 0
	rapid.Check(t, func(rt *rapid.T) {
		more := rapid.SampledFrom([]string{"", `,"secure":{"off":true}`, `,"privacy":{"unit":"site","epsilon":8,"delta":1e-5}`,
			`,"privacy":{"unit":"record","epsilon":8,"delta":1e-5,"steps":4,"sample":0.2,"clip":1}`}).Draw(rt, "spec")
		w := newWorld(t, asyncSpec(t, more), 7, rapid.Uint64().Draw(rt, "seed"))
		w.play(faults{
			shuffle: true, lost: rapid.Float64Range(0, 0.3).Draw(rt, "lost"), doubled: rapid.Float64Range(0, 0.3).Draw(rt, "doubled"),
			siteCrash: rapid.Float64Range(0, 0.3).Draw(rt, "site crash"), hubCrash: rapid.Float64Range(0, 0.2).Draw(rt, "hub crash"),
		})
		s := w.machine.State()
		rounds := 9
		if w.plan.Spec.Privacy != nil {
			rounds = 8
		}
		if s.Stopped != "" || len(s.Rounds) != rounds {
			rt.Fatalf("%d rounds, %s", len(s.Rounds), s.Stopped)
		}
		used := map[[2]int]int{}
		for _, r := range s.Rounds {
			if len(r.Sites) != 4 || len(r.Stale) != 4 || r.Attempts != 1 || rounds == 9 && r.Counts.Held != 40 {
				rt.Errorf("%+v", r)
			}
			for i, site := range r.Sites {
				key := [2]int{site, r.Number - r.Stale[i]}
				if before, twice := used[key]; twice || r.Stale[i] > 2 || r.Stale[i] < 0 {
					rt.Errorf("site %d is in rounds %d and %d with an update of round %d", site, before, r.Number, key[1])
				}
				used[key] = r.Number
				old += r.Stale[i]
			}
		}
		charged := map[string]privacy.Charge{}
		for _, c := range w.charges {
			if was, ok := charged[c.ID]; ok && was != c {
				rt.Errorf("%+v, then %+v", was, c)
			}
			charged[c.ID] = c
		}
		if rounds == 8 && (len(charged) == 0 || len(charged) > 8) { // one of each version, or attempt
			rt.Errorf("%d charges", len(charged))
		}
	})
	if old == 0 {
		t.Error("no update was old")
	}
}

// paced is a site of an asynchronous run without masks, and what it is asked for.
type paced struct {
	t *testing.T
	w *world
}

func (p *paced) ask(round, attempt int, step Step) *Reply {
	p.t.Helper()
	o := Order{At: At{Run: p.w.machine.State().Run, Round: round, Attempt: attempt, Step: step}}
	if step == StepReady {
		o.Params = packFloats([]float32{float32(round) / 10, 0, 0})
	} else {
		o.Roster = []int{0, 1, 2, 3}
	}
	p.w.sites[0] = p.w.site(0) // as after a crash
	return p.w.sites[0].Handle(p.t.Context(), &o)
}

func (p *paced) vector(round, attempt int) []float32 {
	p.t.Helper()
	r := p.ask(round, attempt, StepPlain)
	if r.Refused != "" {
		p.t.Fatal(r.Refused)
	}
	update, _, err := p.w.plan.readPlain(r.Vector)
	if err != nil {
		p.t.Fatal(err)
	}
	return update
}

// An update waits for a buffer, counts by its age, is in one buffer alone, and is thrown
// away when it is too old.
func TestPace(t *testing.T) {
	t.Parallel()
	const record = `,"secure":{"off":true},"privacy":{"unit":"record","epsilon":8,"delta":1e-5,"steps":4,"sample":0.2,"clip":1}`
	p := &paced{t, newWorld(t, asyncSpec(t, record), 7, 1)}
	ready := func(round, version, charges int) {
		t.Helper()
		if r := p.ask(round, 1, StepReady); r.Refused != "" || r.Version != version || len(p.w.charges) != charges {
			t.Fatalf("round %d: an update of %d, %d charges, %s", round, r.Version, len(p.w.charges), r.Refused)
		}
	}
	refused := func(round int, step Step, want string) {
		t.Helper()
		if r := p.ask(round, 1, step); !strings.Contains(r.Refused, want) {
			t.Errorf("round %d: %+v", round, r)
		}
	}
	refused(1, StepPlain, "has not said that it is ready")
	ready(1, 1, 1)
	ready(1, 1, 1)
	ready(3, 1, 1) // it waits, though round 3 is here
	fresh, err := p.w.sites[0].journal(1)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := fresh.Kept(updateName)
	if err != nil {
		t.Fatal(err)
	}
	trained, _, err := p.w.plan.readPlain(kept)
	if err != nil {
		t.Fatal(err)
	}
	one := p.vector(3, 1)
	for i, v := range trained {
		if want := float64(v) / math.Sqrt(3); math.Abs(float64(one[i])-want) > 1e-6*math.Abs(want) {
			t.Errorf("%g at the age of 2, want %g", one[i], want)
		}
	}
	if again := p.vector(3, 2); !slices.Equal(one, again) || len(p.w.charges) != 1 {
		t.Errorf("%v, at another attempt %v, %d charges", one, again, len(p.w.charges))
	}
	ready(4, 4, 2)                        // that of round 1 has been used
	refused(2, StepPlain, "has not said") // nor does it go back
	ready(6, 4, 2)                        // and waits
	ready(7, 7, 3)                        // too old
	ready(8, 7, 3)
	p.vector(8, 1)
	refused(7, StepReady, "its update was in the buffer of round 8")
	ready(9, 9, 3) // which only measures
	if v := p.vector(9, 1); slices.ContainsFunc(v, func(x float32) bool { return x != 0 }) {
		t.Errorf("%v", v)
	}
}

// A site takes part in buffers that are some, and in which it is.
func TestRoster(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"", `,"secure":{"off":true}`} {
		w := newWorld(t, asyncSpec(t, more), 7, 1)
		step := map[string]Step{"": StepKeys}[more]
		if step == "" {
			step = StepPlain
		}
		for want, roster := range map[string][]int{
			"want 4": {0, 1, 2}, "a buffer of 0": nil, "is not in the buffer": {1, 2, 3, 4}, "each once": {0, 0, 1, 2}, "in order": {1, 0, 2, 3}, "buffer of 4 sites: want 4": {0, 1, 2, 7}, "want 4, each": {-1, 0, 1, 2},
		} {
			o := &Order{At: At{Run: w.machine.State().Run, Round: 1, Attempt: 1, Step: step}, Roster: roster}
			if r := w.sites[0].Handle(t.Context(), o); !strings.Contains(r.Refused, want) {
				t.Errorf("%v: %+v", roster, r)
			}
		}
	}
	w := newWorld(t, asyncSpec(t, ""), 7, 1)
	at := At{Run: w.machine.State().Run, Round: 1, Attempt: 1, Step: StepKeys}
	first := w.sites[0].Handle(t.Context(), &Order{At: at, Roster: []int{0, 1, 2, 3}})
	other := w.site(0).Handle(t.Context(), &Order{At: at, Roster: []int{0, 4, 5, 6}})
	if first.Keys == nil || other.Keys != nil || !strings.Contains(other.Refused, "another round") {
		t.Errorf("%+v, %+v", first, other)
	}
	sync := newWorld(t, spec(t, ""), 4, 1)
	o := &Order{At: At{Run: sync.machine.State().Run, Round: 1, Attempt: 1, Step: StepReady}}
	if r := sync.sites[0].Handle(t.Context(), o); !strings.Contains(r.Refused, "own pace") {
		t.Errorf("%+v", r)
	}
}

// Time alone puts nobody out of a buffer; without enough who could be ready the run stops.
func TestBufferWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, asyncSpec(t, ""), 5, 1)
	if _, err := w.machine.Begin(w.now); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		_, waits, until := w.machine.Waiting()
		again, err := w.machine.Tick(until)
		if len(waits) != 5 || len(again) != 5 || err != nil || w.machine.State().Attempt != 1 {
			t.Fatalf("%v, %d orders, %v", waits, len(again), err)
		}
	}
	late := &Reply{At: w.machine.cohorts[0].order.At, Site: 1, Version: 2}
	if _, err := w.machine.Receive(late, w.now); core.KindOf(err) != core.Invalid {
		t.Errorf("an update of a round to come: %v", err)
	}
	for !w.machine.Over() {
		at := w.machine.cohorts[0].order.At
		for i := range 2 {
			if _, err := w.machine.Receive(&Reply{At: at, Site: i, Refused: "my policy"}, w.now); err != nil {
				t.Fatal(err)
			}
		}
		if !w.machine.Over() && w.machine.State().Attempt == at.Attempt {
			for i := 2; i < 5; i++ {
				if _, err := w.machine.Receive(&Reply{At: at, Site: i, Version: 1}, w.now); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if why := w.machine.State().Stopped; !strings.Contains(why, "3 of 5 sites are ready: a buffer takes 4") {
		t.Error(why)
	}
}

// The terms of a buffer are those of its size, with all who work with the hub in it.
func TestBufferTerms(t *testing.T) {
	t.Parallel()
	const site = `,"privacy":{"unit":"site","epsilon":8,"delta":1e-5}`
	text := strings.Replace(specText, `,"rounds":3`, `,"rounds":8`, 1)
	plan := func(more string, sites int) *Plan {
		s, err := Parse(fmt.Appendf(nil, text, site+more))
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(s, sites)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	few, many := plan(`,"sites":{"corrupt":0.3}`, 10), plan(`,"async":{"buffer":10},"sites":{"corrupt":0.1}`, 30)
	if few.Threshold != many.Threshold || few.variance != many.variance || many.Exposed() != 0 || many.Lot() != "the first 10 of 30 sites that are ready." {
		t.Errorf("a sum of %d or %d, noise of %g and %g, %s", few.Threshold, many.Threshold, few.variance, many.variance, many.Lot())
	}
	for more, want := range map[string]string{
		`,"async":{"buffer":8},"sites":{"corrupt":0.1}`:             "3 of 30 sites may work with the hub, which chooses who is in a buffer of 8",
		`,"async":{"buffer":10}`:                                    "10 of 30 sites may work",
		`,"async":{"buffer":31},"sites":{"corrupt":0.1}`:            "a buffer of 31 of 30",
		`,"async":{"buffer":0},"sites":{"corrupt":0.1}`:             "a buffer of 0",
		`,"async":{"buffer":2},"sites":{"corrupt":0.01}`:            "2 members",
		`,"async":{"buffer":9,"staleness":101}`:                     "101 rounds old",
		`,"async":{"buffer":9,"staleness":-1}`:                      "-1 rounds old",
		`,"async":{"buffer":9},"sites":{"corrupt":0.1,"select":10}`: "nobody is drawn",
		`,"async":{"buffer":9},"sites":{"corrupt":0.1,"enough":9}`:  "nobody late",
		`,"async":{"buffer":9},"sites":{"corrupt":0.1}` + medianOf3: "robust rule",
	} {
		s, err := Parse(fmt.Appendf(nil, text, more))
		if err == nil {
			_, err = NewPlan(s, 30)
		}
		if core.KindOf(err) != core.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
}
