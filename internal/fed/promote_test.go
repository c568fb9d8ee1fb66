package fed

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
)

// The last round compares the model with the one before on the rows of all who are in it,
// and the run yields the better one, whatever crashes on the way.
func TestPromote(t *testing.T) {
	t.Parallel()
	first := newWorld(t, spec(t, ""), 4, 1)
	first.play(faults{})
	earlier := first.machine.State().Params
	from := fmt.Sprintf(`,"start_from":%q`, core.DigestOf(packFloats(earlier)))
	cases := map[string]bool{
		`,"promote":{"by":"loss"}`:                                                  true, // beside a model that knows nothing
		`,"promote":{"by":"accuracy","margin":0.05}`:                                true,
		`,"promote":{"by":"accuracy","margin":0.9}`:                                 false,
		`,"promote":{"by":"loss","margin":0.5}` + from:                              false,
		`,"promote":{"by":"loss","margin":0.5},"secure":{"off":true}` + from:        false,
		`,"promote":{"by":"loss"},"train":{"epochs":1,"batch":8,"rate":100}` + from: false, // training spoils it
		`,"promote":{"by":"accuracy"}` + `,"robust":{"rule":"median","group":3}`:    true,
	}
	rapid.Check(t, func(rt *rapid.T) {
		more := rapid.SampledFrom(slices.Sorted(maps.Keys(cases))).Draw(rt, "spec")
		sites, text := 4, specText
		if strings.Contains(more, "train") {
			text = strings.Replace(text, `,"train":{"epochs":1,"batch":8,"rate":0.5}`, "", 1)
		}
		if strings.Contains(more, "robust") {
			sites = 9
		}
		s, err := Parse(fmt.Appendf(nil, text, more))
		if err != nil {
			rt.Fatal(err)
		}
		var start []float32
		if !s.StartFrom.IsZero() {
			start = earlier
		}
		promotes(rt, t, newWorld(t, s, sites, 1, start), cases[more])
	})
}

func promotes(rt *rapid.T, t *testing.T, w *world, promoted bool) {
	start := slices.Clone(w.machine.State().Params)
	w.play(faults{lost: rapid.Float64Range(0, 0.2).Draw(rt, "lost"), siteCrash: rapid.Float64Range(0, 0.2).Draw(rt, "site crash"), hubCrash: rapid.Float64Range(0, 0.2).Draw(rt, "hub crash")})
	state := w.machine.State()
	if state.Stopped != "" || state.Promotion == nil || state.Promotion.Promoted != promoted {
		rt.Fatalf("%s, %+v", state.Stopped, state.Promotion)
	}
	last, trained := state.Rounds[3], state.Rounds[2].Params
	if got := core.DigestOf(packFloats(state.Params)); state.Promotion.Trained != trained || (got == trained) != promoted || !promoted && !slices.Equal(state.Params, start) || last.Params != got {
		rt.Errorf("the run yields %s, trained %s: %+v", got, trained, state.Promotion)
	}
	if promoted { // the numbers are those of all sites together
		var want Counts
		for _, s := range w.sites {
			c, err := s.measure(t.Context(), state.Params, start)
			if err != nil {
				rt.Fatal(err)
			}
			want.add(c)
		}
		if last.Counts != want {
			rt.Errorf("%+v, want %+v", last.Counts, want)
		}
	}
}

// A run begins with the model that its owners have agreed to, or not at all.
func TestStartFrom(t *testing.T) {
	t.Parallel()
	params := []float32{1, 2, 3}
	named, plain := spec(t, fmt.Sprintf(`,"start_from":%q`, core.DigestOf(packFloats(params)))), spec(t, "")
	w := newWorld(t, named, 4, 1, params)
	if s := w.machine.State(); !slices.Equal(s.Params, params) || !slices.Equal(s.Start, params) {
		t.Errorf("%+v", s)
	}
	for want, c := range map[string]struct {
		spec   *Spec
		params []float32
	}{"those of the model given are": {named, []float32{1, 2, 4}}, "does not name it": {plain, params}, "no earlier model is given": {named, nil}} {
		p, err := NewPlan(c.spec, 4)
		if err != nil {
			t.Fatal(err)
		}
		if c.params == nil {
			_, err = NewMachine(p, w.members, nil)
		} else {
			_, err = p.StateFrom(w.members, c.params)
		}
		if core.KindOf(err) != core.Mismatch || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	short := spec(t, fmt.Sprintf(`,"start_from":%q`, core.DigestOf(packFloats(params[:2]))))
	p, err := NewPlan(short, 4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.StateFrom(w.members, params[:2]); err == nil || !strings.Contains(err.Error(), "has 2 parameters") {
		t.Error(err)
	}
}

func TestPromoteRefused(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		`,"promote":{"by":"taste"}`:                                                   "compared by \"taste\"",
		`,"promote":{"by":"loss","margin":-1}`:                                        "margin of -1",
		`,"promote":{"by":"accuracy","margin":1}`:                                     "margin of 1",
		`,"promote":{"by":"loss","better":true}`:                                      "better",
		`,"start_from":"sha256:12"`:                                                   "start_from",
		`,"promote":{"by":"loss"},"privacy":{"unit":"site","epsilon":8,"delta":1e-5}`: "nothing of the rows held out is told",
	} {
		if _, err := Parse(fmt.Appendf(nil, specText, more)); core.KindOf(err) != core.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
	none := Promotion{By: ByLoss}
	if !strings.Contains(none.String(), "no rows are held out") {
		t.Error(none.String())
	}
}
