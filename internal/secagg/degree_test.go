package secagg

import (
	"math"
	"testing"
)

// What Plan says for rounds of the sizes that are measured; docs/secagg.md has the same.
func TestPlan(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		n                int
		dropout, corrupt float64
		degree, shares   int
	}{
		{3, 0.3, 0.3, 0, 2}, {50, 0.1, 0.1, 0, 33},
		{100, 0.1, 0.05, 32, 22}, {500, 0.1, 0.05, 104, 76}, {1000, 0.1, 0.05, 134, 99},
		{500, 0.1, 0.1, 156, 121}, {1000, 0.1, 0.1, 208, 162},
		{500, 0.3, 0.05, 276, 164}, {1000, 0.3, 0.05, 456, 276}, {1000, 0.3, 0.1, 0, 666},
	} {
		threshold, degree, shares, err := Plan(x.n, x.dropout, x.corrupt)
		if err != nil || threshold != 2*x.n/3+1 || degree != x.degree || shares != x.shares {
			t.Errorf("%d members, %.2f, %.2f: threshold %d, degree %d, shares %d, %v; want %d and %d", x.n, x.dropout, x.corrupt, threshold, degree, shares, err, x.degree, x.shares)
		}
	}
	for _, n := range []int{2, MaxMembers + 1} {
		if _, _, _, err := Plan(n, 0, 0); err == nil {
			t.Errorf("a plan for %d members", n)
		}
	}
	if _, _, _, err := Plan(10, 0.5, 0); err == nil {
		t.Error("a plan for a half that drop out")
	}
	if _, _, _, err := Plan(10, 0, math.NaN()); err == nil {
		t.Error("a plan for NaN that are corrupt")
	}
}

// The tail of a hypergeometric, by counting: 3 of 5, of which 2 are marked.
func TestUpperTail(t *testing.T) {
	t.Parallel()
	for i, want := range []float64{1, 0.9, 0.3, 0, 0} {
		if got := upperTail(5, 2, 3)[i]; math.Abs(got-want) > 1e-12 {
			t.Errorf("P[X ≥ %d] = %v, want %v", i, got, want)
		}
	}
}
