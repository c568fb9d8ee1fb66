package bench

import "testing"

// Each setting is measured, and what would take too many masks is marked.
func TestSecAgg(t *testing.T) {
	t.Parallel()
	r, err := SecAgg(t.Context(), SecAggConfig{
		Members: []int{6}, Dims: []int{100, 1 << 20}, Dropouts: []float64{0, 0.2}, Corrupt: 0.3, Bits: 16, Most: 1 << 20, Watch: func(int, int, string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range r.Rows {
		want := SecAggRow{Members: 6, Dim: []int{100, 1 << 20}[i%2], Vector: []int{238, 19 << 17}[i%2], Extrapolated: i%2 == 1}
		if x.Members != want.Members || x.Dim != want.Dim || x.Vector != want.Vector || x.Extrapolated != want.Extrapolated || x.Others == 0 {
			t.Errorf("row %d: %+v", i, x)
		}
	}
	if len(r.Rows) != 4 {
		t.Errorf("%d rows", len(r.Rows))
	}
}
