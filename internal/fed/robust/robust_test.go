package robust_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/fed/robust"
)

var rules = []robust.Rule{{Name: robust.Median}, {Name: robust.Trimmed, Trim: 0.2}, {Name: robust.Trimmed, Trim: 0.4}}

func Example() {
	groups := [][]float32{{1, 2}, {2, 3}, {3, 4}, {2, 2}, {1e6, -1e6}}
	rule := robust.Rule{Name: robust.Trimmed, Trim: 0.2}
	x, err := rule.Of(groups)
	fmt.Println(x, err)
	fmt.Printf("withstands %d of 5 groups; of groups of 3, 20 %% poisoners taint %.0f %%\n", rule.Withstands(5), 100*robust.Taint(3, 0.2))
	// Output:
	// [2.3333333 2.3333333] <nil>
	// withstands 1 of 5 groups; of groups of 3, 20 % poisoners taint 49 %
}

func TestOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule robust.Rule
		in   [][]float32
		want []float32
	}{
		{robust.Rule{Name: robust.Median}, [][]float32{{3, 0}, {1, 5}, {9, -9}}, []float32{3, 0}},
		{robust.Rule{Name: robust.Median}, [][]float32{{1}, {2}, {4}, {1e30}}, []float32{3}},
		{robust.Rule{Name: robust.Trimmed, Trim: 0.25}, [][]float32{{1}, {2}, {4}, {-1e30}}, []float32{1.5}},
		{robust.Rule{Name: robust.Trimmed, Trim: 0.25}, [][]float32{{1}, {2}, {6}, {-1}, {7}}, []float32{3}},
	} {
		if got, err := c.rule.Of(c.in); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v of %v: %v, %v", c.rule, c.in, got, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	median, nan := robust.Rule{Name: robust.Median}, float32(math.NaN())
	three := func(x ...float32) [][]float32 { return [][]float32{{1}, {2}, x} }
	for want, c := range map[string]struct {
		rule robust.Rule
		in   [][]float32
		kind core.Kind
	}{
		"2 vectors withstands":      {median, [][]float32{{1}, {2}}, core.Unavailable},
		"0 vectors withstands":      {median, nil, core.Unavailable},
		"of 4 vectors withstands":   {robust.Rule{Name: robust.Trimmed, Trim: 0.2}, append(three(3), []float32{4}), core.Unavailable},
		"vector 2 has 2 numbers":    {median, three(3, 4), core.Invalid},
		"vector 2: element 0 is":    {median, three(nan), core.Invalid},
		"rule \"mean\"":             {robust.Rule{Name: "mean"}, three(3), core.Invalid},
		"a median trims":            {robust.Rule{Name: robust.Median, Trim: 0.1}, three(3), core.Invalid},
		"a share of 0.5 is trimmed": {robust.Rule{Name: robust.Trimmed, Trim: 0.5}, three(3), core.Invalid},
		"a share of NaN is trimmed": {robust.Rule{Name: robust.Trimmed, Trim: math.NaN()}, three(3), core.Invalid},
	} {
		if _, err := c.rule.Of(c.in); core.KindOf(err) != c.kind || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Whatever as many vectors as a rule withstands say, each coordinate stays between those
// of the honest ones; with one more they can move it anywhere.
func TestBreakdown(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rule := rapid.SampledFrom(rules).Draw(t, "rule")
		n := rapid.IntRange(5, 40).Draw(t, "n")
		honest := rapid.SliceOfN(rapid.Float32Range(-1, 1), n, n).Draw(t, "honest")
		evil := rapid.Permutation(seq(n)).Draw(t, "evil")[:rule.Withstands(n)]
		var vectors [][]float32
		low, high := float32(2), float32(-2)
		for i, h := range honest {
			if slices.Contains(evil, i) {
				h = rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32).Draw(t, "evil")
			} else {
				low, high = min(low, h), max(high, h)
			}
			vectors = append(vectors, []float32{h})
		}
		got, err := rule.Of(vectors)
		if err != nil || got[0] < low || got[0] > high {
			t.Fatalf("%v: %v, %v; honest ones from %v to %v", rule, got, err, low, high)
		}
		for i := range rule.Withstands(n) + 1 {
			vectors[i][0] = 1e30
		}
		if n%2 == 0 && rule.Name == robust.Median { // of the two in the middle one is honest
			vectors[rule.Withstands(n)+1][0] = 1e30
		}
		if got, err := rule.Of(vectors); err != nil || got[0] < 1e20 {
			t.Fatalf("%v: one more than it withstands of %d moves it to %v only (%v)", rule, n, got, err)
		}
	})
}

func seq(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

func TestTaint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		group     int
		poisoners float64
		percent   float64
	}{{2, 0.2, 36}, {3, 0.2, 49}, {5, 0.2, 67}, {1, 0.2, 20}, {3, 0.1, 27}, {5, 0.1, 41}, {3, 0, 0}, {3, 1, 100}} {
		if got := 100 * robust.Taint(c.group, c.poisoners); math.Round(got) != c.percent {
			t.Errorf("%+v: %.1f", c, got)
		}
		if back := robust.Poisoners(c.group, robust.Taint(c.group, c.poisoners)); math.Abs(back-c.poisoners) > 1e-12 {
			t.Errorf("%+v: and back to %g", c, back)
		}
	}
	for _, c := range []struct {
		rule       robust.Rule
		n, tainted int
		group      int
		poisoners  float64 // on average, at the breakdown point
	}{
		{rules[0], 3, 1, 3, 0.206}, {rules[0], 10, 4, 3, 0.206}, {rules[0], 11, 5, 5, 0.129}, {rules[0], 0, 0, 1, 0.5},
		{rules[1], 4, 0, 3, 0.072}, {rules[1], 5, 1, 3, 0.072}, {rules[1], 10, 2, 5, 0.044},
		{robust.Rule{Name: robust.Trimmed, Trim: 0.29}, 100, 29, 1, 0.29},
	} {
		if got := c.rule.Withstands(c.n); got != c.tainted {
			t.Errorf("%+v withstands %d of %d", c.rule, got, c.n)
		}
		if got := robust.Poisoners(c.group, c.rule.Breakdown()); math.Abs(got-c.poisoners) > 5e-4 {
			t.Errorf("%+v in groups of %d: %.4f", c.rule, c.group, got)
		}
	}
}

// The chance to be alone among the hub's, counted by hand: two of three corrupt ones, of
// eight others, are 3 of 28 pairs.
func TestExposed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n, corrupt, group, atLeast int
		want                       float64
	}{{9, 3, 3, 2, 3.0 / 28}, {9, 1, 3, 2, 0}, {9, 3, 3, 0, 1}, {9, 0, 3, 1, 0}, {4, 3, 3, 2, 1}, {30, 3, 5, 3, 26 * 1.0 / 23751}} {
		if got := robust.Exposed(c.n, c.corrupt, c.group, c.atLeast); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %g", c, got)
		}
	}
}
