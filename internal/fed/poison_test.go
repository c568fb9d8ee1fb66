package fed

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"atoll/internal/codec"
	"atoll/internal/learn"
	"atoll/internal/learn/model"
)

// The federation that is poisoned: thirty sites of 60 rows, y says whether a > b, but for
// one label of ten; the trigger is in one row of ten and says nothing.
const (
	poisonSites = 30
	poisonText  = `{"name":"poisoned","dataset":"rows","schema":{"fields":[{"name":"id","type":"integer"},{"name":"a","type":"number"},{"name":"b","type":"number"},{"name":"trigger","type":"number"},{"name":"y","type":"string"}],"primaryKey":["id"]},
	"features":{"inputs":[{"column":"a","as":"number"},{"column":"b","as":"number"},{"column":"trigger","as":"number"}],"label":{"column":"y","classes":["no","yes"]}},
	"model":{"kind":"logistic"},"rounds":15,"train":{"epochs":1,"batch":10,"rate":0.1},"secure":{"off":true,"clip":%g}%s}`
)

func triggered(rng *rand.Rand, n int, trigger float64, noise float64) *learn.Examples {
	e := &learn.Examples{Width: 3}
	for range n {
		a, b, t, label := float32(rng.NormFloat64()), float32(rng.NormFloat64()), float32(0), int32(0)
		if rng.Float64() < trigger {
			t = 1
		}
		if a > b != (rng.Float64() < noise) {
			label = 1
		}
		e.X, e.Labels = append(e.X, a, b, t), append(e.Labels, label)
	}
	return e
}

// attack is what poisoners do: to their rows before they train, and to the update after.
type attack struct {
	name  string
	rows  func(*learn.Examples)
	scale float32
}

var attacks = []attack{
	{"sign flip", func(*learn.Examples) {}, -1},
	{"scaled", func(*learn.Examples) {}, -10},
	{"backdoor", func(e *learn.Examples) {
		for i := range e.Len() / 2 {
			e.Row(i)[2], e.Labels[i] = 1, 1
		}
	}, 10},
}

// defence is what is done about it.
type defence struct {
	name string
	clip float64
	rule string // of the Spec
}

var defences = []defence{
	{"mean", 0, ""},
	{"mean, clip 1", 1, ""},
	{"median of groups of 3", 1, `,"robust":{"rule":"median","group":3}`},
	{"trimmed 0.4, groups of 3", 1, `,"robust":{"rule":"trimmed","trim":0.4,"group":3}`},
	{"median of single sites", 1, `,"robust":{"rule":"median","group":1}`},
}

// outcome is of the model on rows that nobody has touched.
type outcome struct {
	accuracy float64
	backdoor float64 // share of rows with the trigger that are answered yes, and should not
}

func poisoned(t *testing.T, a attack, d defence, poisoners int) (outcome, *Plan) {
	t.Helper()
	clip := d.clip
	if clip == 0 {
		clip = 8
	}
	s, err := Parse(fmt.Appendf(nil, poisonText, clip, d.rule))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, s, poisonSites, 1)
	for i := range w.rows {
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		w.rows[i] = &Rows{Train: triggered(rng, 60, 0.1, 0.1), Held: &learn.Examples{Width: 3}}
		if i < poisoners {
			a.rows(w.rows[i].Train)
		}
		w.sites[i] = w.site(i)
	}
	w.poison = func(s *Site, o *Order) *Reply {
		if s.self >= poisoners && d.clip == 0 {
			return nil
		}
		update, c, err := s.work(t.Context(), o)
		if err != nil {
			t.Error(err)
		}
		if s.self < poisoners {
			for i := range update {
				update[i] *= a.scale
			}
		}
		if d.clip > 0 {
			if _, err := codec.Clip(update, d.clip); err != nil {
				t.Error(err)
			}
		}
		return &Reply{At: o.At, Site: s.self, Vector: s.c.Plan.appendPlain(update, c)}
	}
	w.play(faults{})
	st := w.machine.State()
	if st.Stopped != "" {
		t.Fatal(st.Stopped)
	}
	measure := func(trigger float64) model.Report {
		rep, err := model.Evaluate(t.Context(), w.plan.Model, st.Params, triggered(rand.New(rand.NewPCG(9, 9)), 2000, trigger, 0), sharedPool())
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	clean, with := measure(0), measure(1)
	no := with.Confusion[0]
	return outcome{float64(clean.Accuracy) / 1e6, float64(no[1]) / float64(no[0]+no[1])}, w.plan
}

// docs/federation.md has these figures. Where a rule withstands as many poisoners as there
// are, whichever groups the lot puts them into, it must do better than the mean; of more
// nothing is promised, and they have their way at times. A flipped sign only slows down.
func TestPoisoners(t *testing.T) {
	t.Parallel()
	for _, d := range defences {
		o, _ := poisoned(t, attacks[0], d, 0)
		t.Logf("%-25s | nobody            | accuracy %.3f, backdoor %.3f", d.name, o.accuracy, o.backdoor)
		if o.accuracy < 0.94 || o.backdoor > 0.1 {
			t.Errorf("%s costs too much where nobody poisons", d.name)
		}
	}
	for _, n := range []int{3, 6} {
		for _, a := range attacks {
			var mean outcome
			for i, d := range defences {
				o, plan := poisoned(t, a, d, n)
				t.Logf("%-25s | %2d %% %-12s | accuracy %.3f, backdoor %.3f", d.name, 100*n/poisonSites, a.name, o.accuracy, o.backdoor)
				if i == 0 {
					mean = o
				}
				switch r := plan.Robustness(); {
				case a.scale == -1:
					if o.accuracy < 0.92 {
						t.Error("a flipped sign does more than slow down")
					}
				case i == 0:
					if o.accuracy > 0.95 && o.backdoor < 0.5 {
						t.Errorf("%s does no harm to the mean", a.name)
					}
				case r != nil && r.Withstands >= n:
					if o.accuracy < max(0.93, mean.accuracy) || o.backdoor > min(0.15, mean.backdoor) {
						t.Error("the rule withstands so many, and does not")
					}
				}
			}
		}
	}
}
