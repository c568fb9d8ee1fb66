package fed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/learn"
	"atoll/internal/privacy"
	"atoll/internal/repro"
	"atoll/internal/secagg"
)

const specText = `{"name":"test","dataset":"rows","schema":{"fields":[{"name":"id","type":"integer"},{"name":"a","type":"number"},{"name":"b","type":"number"},{"name":"y","type":"string"}],"primaryKey":["id"]},
	"features":{"inputs":[{"column":"a","as":"number"},{"column":"b","as":"number"}],"label":{"column":"y","classes":["no","yes"]}},
	"model":{"kind":"logistic"},"rounds":3,"train":{"epochs":1,"batch":8,"rate":0.5}%s}`

func spec(t testing.TB, more string) *Spec {
	t.Helper()
	s, err := Parse(fmt.Appendf(nil, specText, more))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var sharedPool = sync.OnceValue(func() *repro.Pool {
	p, err := repro.NewPool(1, repro.Portable)
	if err != nil {
		panic(err)
	}
	return p
})

// keys are the same in each run of the tests, and with them the run's name and its lots.
var keys = sync.OnceValue(func() (out []*identity.Key) {
	for i := range 40 {
		raw := core.DigestOf(fmt.Appendf(nil, "key %d", i))
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw[:])
		if err != nil {
			panic(err)
		}
		k, err := identity.NewKey(private)
		if err != nil {
			panic(err)
		}
		out = append(out, k)
	}
	return out
})

// world is a run in memory, in which everything can be lost, doubled and begun anew.
type world struct {
	t        testing.TB
	plan     *Plan
	members  []secagg.Member
	machine  *Machine
	began    State // when the round under way began
	replies  []*Reply
	sites    []*Site
	rows     []*Rows
	journals []map[core.Digest]secagg.Journal
	rests    []MemorySlot
	charges  []privacy.Charge
	now      time.Time
	rng      *rand.Rand
	// poison, if not nil, is what a site sends in place of its vector; nil: its own.
	poison func(*Site, *Order) *Reply
	opened int // how many openings were given
}

func newWorld(t testing.TB, s *Spec, n int, seed uint64, start ...[]float32) *world {
	t.Helper()
	w := &world{t: t, now: time.Unix(1000, 0), rng: rand.New(rand.NewPCG(seed, 2))}
	var err error
	if w.plan, err = NewPlan(s, n); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		w.members = append(w.members, secagg.Member{Name: fmt.Sprintf("site-%0*d", len(fmt.Sprint(n-1)), i), Key: keys()[i].Public()})
		w.rows = append(w.rows, &Rows{Train: w.examples(40), Held: w.examples(10)})
		w.journals = append(w.journals, map[core.Digest]secagg.Journal{})
		w.sites, w.rests = append(w.sites, nil), append(w.rests, MemorySlot{})
	}
	for i := range n {
		w.sites[i] = w.site(i)
	}
	var first *State
	if len(start) > 0 && start[0] != nil {
		if first, err = w.plan.StateFrom(w.members, start[0]); err != nil {
			t.Fatal(err)
		}
	}
	w.machine = w.newMachine(first)
	return w
}

func (w *world) newMachine(s *State) *Machine {
	w.t.Helper()
	m, err := NewMachine(w.plan, w.members, s)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) examples(n int) *learn.Examples {
	e := &learn.Examples{Width: 2}
	for i := range n {
		a, b := float32(w.rng.NormFloat64()), float32(w.rng.NormFloat64())
		label := int32(0)
		if a-b > 0 || i == 0 {
			label = 1
		}
		if i == 1 {
			label = 0
		}
		e.X, e.Labels = append(e.X, a, b), append(e.Labels, label)
	}
	return e
}

// site is one as after a crash: all that it has is its rows and its journals.
func (w *world) site(i int) *Site {
	w.t.Helper()
	s, err := NewSite(SiteConfig{
		Plan: w.plan, Members: w.members, Name: w.members[i].Name, Sign: keys()[i].Sign, Rows: w.rows[i], Pool: sharedPool(),
		Journal: func(_ int, id core.Digest) (secagg.Journal, error) {
			if w.journals[i][id] == nil {
				w.journals[i][id] = new(secagg.MemoryJournal)
			}
			return w.journals[i][id], nil
		},
		Rest:  &w.rests[i],
		Spend: func(c privacy.Charge) error { w.charges = append(w.charges, c); return nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// restartHub makes the machine anew from what a hub keeps.
func (w *world) restartHub() {
	w.t.Helper()
	if w.machine.Over() {
		return
	}
	m := w.newMachine(&w.began)
	if _, err := m.Begin(w.now); err != nil {
		w.t.Fatal(err)
	}
	for _, r := range w.replies {
		if _, err := m.Receive(r, w.now); err != nil && core.KindOf(err) != core.Conflict {
			w.t.Fatal(err)
		}
	}
	w.machine = m
}

// faults of a run.
type faults struct {
	lost, doubled, siteCrash, hubCrash float64
	out                                map[int]Step // sites that leave before a step of each round
	away                               func(site int, o *Order) bool
	shuffle                            bool // who is first is another one each time
}

// play runs it to its end.
func (w *world) play(f faults) {
	w.t.Helper()
	m := w.machine
	w.began = m.State()
	if _, err := m.Begin(w.now); err != nil {
		w.t.Fatal(err)
	}
	for turn := 0; !w.machine.Over(); turn++ {
		if turn > 3000 {
			w.t.Fatalf("it does not end: %+v", w.machine.State())
		}
		progress := false
		orders := w.machine.Again()
		if f.shuffle {
			w.rng.Shuffle(len(orders), func(i, j int) { orders[i], orders[j] = orders[j], orders[i] })
		}
		for _, o := range orders {
			if step, ok := f.out[o.Site]; ok && StepNumber(o.Order.Step) >= StepNumber(step) || f.away != nil && f.away(o.Site, o.Order) || w.chance(f.lost) {
				continue
			}
			if w.chance(f.siteCrash) {
				w.sites[o.Site] = w.site(o.Site)
			}
			r := w.answer(o)
			if w.chance(f.lost) {
				continue
			}
			progress = true
			w.deliver(r)
			if w.chance(f.doubled) {
				w.deliver(r)
			}
			if w.chance(f.hubCrash) {
				w.restartHub()
			}
		}
		if !progress && f.lost == 0 {
			_, _, w.now = w.machine.Waiting()
			if _, err := w.machine.Tick(w.now); err != nil {
				w.t.Fatal(err)
			}
			w.turnOver()
		}
	}
}

func (w *world) answer(o Send) *Reply {
	s := w.sites[o.Site]
	if step := o.Order.Step; w.poison != nil && (step == StepVector || step == StepPlain) {
		if r := w.poison(s, o.Order); r != nil {
			return r
		}
	}
	return s.Handle(w.t.Context(), o.Order)
}

func (w *world) deliver(r *Reply) {
	w.t.Helper()
	if r.Refused != "" {
		w.t.Errorf("site %d refuses %s: %s", r.Site, r.Step, r.Refused)
	}
	if r.Opening != nil {
		w.opened++
	}
	w.replies = append(w.replies, r)
	if _, err := w.machine.Receive(r, w.now); err != nil && core.KindOf(err) != core.Conflict {
		w.t.Fatal(err)
	}
	w.turnOver()
}

// turnOver forgets the replies of a round that is over, as a hub does.
func (w *world) turnOver() {
	if s := w.machine.State(); s.Round != w.began.Round || s.Attempt > w.began.Attempt+1 {
		w.began, w.replies = s, nil
		w.began.Attempt = max(s.Attempt-1, 0)
	}
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// What hub and sites lose, say twice or have to do again changes nothing: the model is that
// of the undisturbed run, but for the rounding of what is sent. So it is with groups.
func TestDisturbedRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sites, drawn int
		more         string
	}{"all": {4, 4, ""}, "groups": {10, 10, `,"robust":{"rule":"median","group":3}`}, "drawn": {8, 5, `,"sites":{"select":5}`}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disturbed(t, c.sites, c.drawn, c.more)
		})
	}
}

func disturbed(t *testing.T, sites, drawn int, more string) {
	calm := newWorld(t, spec(t, more), sites, 1)
	calm.play(faults{})
	plain := newWorld(t, spec(t, more+`,"secure":{"off":true}`), sites, 1)
	plain.play(faults{})
	if d := distance(calm.machine.State().Params, plain.machine.State().Params); d > 0.05 && drawn == sites {
		t.Errorf("under masks the model is %g away from the one without", d)
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, spec(t, more), sites, 1)
		w.play(faults{
			lost: rapid.Float64Range(0, 0.3).Draw(rt, "lost"), doubled: rapid.Float64Range(0, 0.3).Draw(rt, "doubled"),
			siteCrash: rapid.Float64Range(0, 0.3).Draw(rt, "site crash"), hubCrash: rapid.Float64Range(0, 0.2).Draw(rt, "hub crash"),
		})
		s := w.machine.State()
		if d := distance(s.Params, calm.machine.State().Params); d > 1e-2 || s.Stopped != "" || len(s.Rounds) != 4 {
			rt.Errorf("%g away, %d rounds, %s", d, len(s.Rounds), s.Stopped)
		}
		for i := range s.Rounds { // sums of whole numbers are exact
			if got, want := s.Rounds[i].Counts.Held, int64(10*drawn); got != want || len(s.Rounds[i].Sites) != drawn {
				rt.Errorf("round %d: %d rows held out, want %d", i+1, got, want)
			}
		}
	})
}

func distance(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

// A site that leaves at any step is out of the round, and the others go on; too few have
// the run stop, with the reason.
func TestSitesLeave(t *testing.T) {
	t.Parallel()
	for _, step := range []Step{StepKeys, StepShares, StepVector, StepSign, StepOpening} {
		w := newWorld(t, spec(t, ""), 5, 3)
		w.play(faults{out: map[int]Step{2: step}})
		s := w.machine.State()
		if s.Stopped != "" || len(s.Rounds) != 4 {
			t.Fatalf("%s: %s", step, s.Stopped)
		}
		for _, r := range s.Rounds {
			in := slices.Contains(r.Sites, 2)
			if late := StepNumber(step) > StepNumber(StepVector); in != late || !in && (len(r.Out) != 1 || !strings.Contains(r.Out[0].Why, "no "+string(step))) {
				t.Errorf("%s: round %d has %v, out %+v", step, r.Number, r.Sites, r.Out)
			}
		}
	}
	w := newWorld(t, spec(t, ""), 5, 3)
	w.play(faults{out: map[int]Step{2: StepVector, 3: StepVector}})
	if s := w.machine.State(); !strings.Contains(s.Stopped, "3 of 5 members have sent a vector: 4 must") {
		t.Errorf("%+v", s.Stopped)
	}
}

// Where sites are to be hidden they add noise, spend once for each attempt, and nothing of
// a site's rows is counted.
func TestPrivateRun(t *testing.T) {
	t.Parallel()
	for unit, more := range map[privacy.Unit]string{
		privacy.Site:   `,"privacy":{"unit":"site","epsilon":8,"delta":1e-5}`,
		privacy.Record: `,"privacy":{"unit":"record","epsilon":8,"delta":1e-5,"steps":4,"sample":0.2,"clip":1}`,
	} {
		w := newWorld(t, spec(t, more), 4, 1)
		w.play(faults{siteCrash: 0.2})
		s := w.machine.State()
		if len(s.Rounds) != 3 || s.Stopped != "" {
			t.Fatalf("%s: %d rounds, %s", unit, len(s.Rounds), s.Stopped)
		}
		if e := s.Rounds[2].Epsilon; e > 8 || e < 7 || s.Rounds[0].Counts != (Counts{}) {
			t.Errorf("%s: ε %g, %+v", unit, e, s.Rounds[0].Counts)
		}
		ids := map[string]int{}
		for _, c := range w.charges {
			if ids[c.ID]++; c.Unit != unit {
				t.Errorf("%+v", c)
			}
		}
		if len(ids) != 3 {
			t.Errorf("%s: charges %v", unit, ids)
		}
	}
}

// A site takes part in the run that its owner has agreed to, and in nothing else.
func TestSiteRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, spec(t, ""), 4, 1)
	at := At{Run: w.machine.State().Run, Round: 1, Attempt: 1, Step: StepKeys}
	nan := packFloats([]float32{0, float32(math.NaN()), 0})
	for name, o := range map[string]Order{
		"another run":         {At: At{Run: core.Digest{1}, Round: 1, Attempt: 1, Step: StepKeys}},
		"a round too many":    {At: At{Run: at.Run, Round: 5, Attempt: 1, Step: StepKeys}},
		"an attempt too many": {At: At{Run: at.Run, Round: 1, Attempt: 6, Step: StepKeys}},
		"no step":             {At: At{Run: at.Run, Round: 1, Attempt: 1, Step: "rows"}},
		"a vector at once":    {At: At{Run: at.Run, Round: 1, Attempt: 1, Step: StepVector}, Params: nan},
		"without masks":       {At: At{Run: at.Run, Round: 1, Attempt: 1, Step: StepPlain}, Params: packFloats(make([]float32, 3))},
	} {
		if r := w.sites[0].Handle(t.Context(), &o); r.Refused == "" || r.Vector != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := w.sites[0].Handle(t.Context(), &Order{At: at}); r.Refused != "" || r.Keys == nil {
		t.Errorf("%+v", r)
	}
	plain := newWorld(t, spec(t, `,"secure":{"off":true}`), 4, 1)
	o := Order{At: At{Run: plain.machine.State().Run, Round: 1, Attempt: 1, Step: StepPlain}, Params: nan}
	if r := plain.sites[0].Handle(t.Context(), &o); !strings.Contains(r.Refused, "parameter 1 is NaN") {
		t.Errorf("%+v", r)
	}
	constant := &Rows{Train: w.examples(10), Held: w.examples(10)}
	for i := range constant.Train.Labels {
		constant.Train.Labels[i] = 0
	}
	if _, err := NewSite(SiteConfig{Plan: w.plan, Members: w.members, Name: "site-0", Rows: constant}); err == nil || !strings.Contains(err.Error(), "same label") {
		t.Errorf("rows of one label: %v", err)
	}
	if _, err := NewSite(SiteConfig{Plan: w.plan, Members: w.members, Name: "stranger", Rows: constant}); core.KindOf(err) != core.Forbidden {
		t.Errorf("a stranger: %v", err)
	}
}

// A hub that has opened one attempt at a round gets no other from the same sites, be it
// after their crash: two sums over other survivors would tell single updates.
func TestOneOpeningPerRound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, spec(t, ""), 4, 1)
	if _, err := w.machine.Begin(w.now); err != nil {
		t.Fatal(err)
	}
	at := w.machine.cohorts[0].order.At
	for w.machine.State().Round == 1 {
		for _, o := range w.machine.Again() {
			if w.machine.State().Round == 1 {
				w.deliver(w.sites[o.Site].Handle(t.Context(), o.Order))
			}
		}
	}
	at.Attempt = 2
	refused := 0
	for i := range w.sites {
		r := w.site(i).Handle(t.Context(), &Order{At: at})
		if strings.Contains(r.Refused, "another attempt") {
			refused++
		}
	}
	if refused < 3 { // who was not needed has opened nothing
		t.Errorf("%d sites refuse", refused)
	}
}

// Whatever sites send, the machine goes on.
func TestMachineRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, spec(t, ""), 4, 1)
	if _, err := w.machine.Begin(w.now); err != nil {
		t.Fatal(err)
	}
	at := w.machine.cohorts[0].order.At
	other := at
	other.Attempt = 2
	good := w.sites[1].Handle(context.Background(), &Order{At: at})
	forged := *good
	forged.Site = 2
	for name, r := range map[string]*Reply{
		"another attempt": {At: other, Site: 1, Keys: good.Keys}, "nobody": {At: at, Site: 9, Keys: good.Keys}, "nothing": {At: at, Site: 1},
		"another's keys": &forged, "a vector": {At: At{at.Run, 1, 1, StepVector}, Site: 1, Vector: []byte{1}}, "an opening": {At: At{at.Run, 1, 1, StepOpening}, Site: 1},
		"no step": {At: At{at.Run, 1, 1, "all"}, Site: 1},
	} {
		if _, err := w.machine.Receive(r, w.now); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := w.machine.Receive(&Reply{At: at, Site: 3, Refused: "my policy"}, w.now); err != nil {
		t.Fatal(err)
	}
	if _, waits, _ := w.machine.Waiting(); len(waits) != 3 {
		t.Errorf("it waits for %v", waits)
	}
}

// A specification is refused with the field that is wrong.
func TestParse(t *testing.T) {
	t.Parallel()
	for more, field := range map[string]string{
		`,"rows":"all"`:          "rows",
		`,"name":"x","name":"y"`: "name",
		`,"privacy":{"unit":"site","epsilon":0,"delta":1e-5}`:                                     "epsilon",
		`,"privacy":{"unit":"site","epsilon":-1,"delta":1e-5}`:                                    "epsilon",
		`,"privacy":{"unit":"family","epsilon":1,"delta":1e-5}`:                                   "unit",
		`,"privacy":{"unit":"customer","epsilon":1,"delta":1e-5,"steps":3,"sample":0.1,"clip":1}`: "unit",
		`,"privacy":{"unit":"site","epsilon":1,"delta":1e-5},"secure":{"off":true}`:               "secure.off",
		`,"privacy":{"unit":"site","epsilon":1,"delta":1e-5},"weights":{"rows":5}`:                "weights",
		`,"secure":{"bits":40}`:                          "bits",
		`,"server":{"method":"magic"}`:                   "server",
		`,"sites":{"dropout":0.9}`:                       "drop",
		`,"holdout":{"date":"when","from":"2026-01-01"}`: "holdout",
	} {
		if _, err := Parse(fmt.Appendf(nil, specText, more)); core.KindOf(err) != core.Invalid || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", more, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(fmt.Appendf(nil, specText, ""))
	f.Add(fmt.Appendf(nil, specText, `,"robust":{"rule":"trimmed","trim":0.2,"group":3}`))
	f.Add(fmt.Appendf(nil, specText, `,"sites":{"select":9,"enough":7},"promote":{"by":"accuracy","margin":0.1},"start_from":"sha256:0000000000000000000000000000000000000000000000000000000000000001"`))
	f.Add(fmt.Appendf(nil, specText, `,"sites":{"corrupt":0.1},"async":{"buffer":9,"staleness":3}`))
	f.Add([]byte(`{"name":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := Parse(data); err == nil && s.Rounds < 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Each property is of whole runs: forty of each do, unless -rapid.checks says otherwise.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
