package table_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"atoll/internal/table"
)

// Two sites find, from sums alone, what one finds that has all rows.
func TestMomentsOfSitesAddUp(t *testing.T) {
	t.Parallel()
	const schema = `{"fields": [{"name": "a", "type": "number"}, {"name": "b", "type": "integer"}, {"name": "c", "type": "boolean"}, {"name": "y", "type": "boolean"}]}`
	f := table.Features{
		Inputs: []table.Input{{Column: "a", As: table.AsNumber, Missing: true, Mean: 1e6, Deviation: 10}, {Column: "c", As: table.AsBoolean}, {Column: "b", As: table.AsNumber}},
		Label:  table.Label{Column: "y", Classes: []string{"false", "true"}},
	}
	of := func(rows string) table.Moments {
		r := resource(t, schema)
		m, err := f.Moments(r.Schema, r.ReadCSV("f", strings.NewReader("a,b,c,y\n"+rows)), nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := of("1000001,4,1,1\n1000003,4,0,1\n")
	for i, v := range of("1000005,4,0,0\n,4,1,1\n") {
		m[i] += v
	}
	g, err := f.Standardised(m)
	if err != nil {
		t.Fatal(err)
	}
	if a := g.Inputs[0]; math.Abs(a.Mean-1000003) > 1e-6 || math.Abs(a.Deviation-math.Sqrt(8.0/3)) > 1e-9 {
		t.Errorf("mean %g, deviation %g", a.Mean, a.Deviation)
	}
	if b := g.Inputs[2]; b.Mean != 4 || b.Deviation != 1 || f.Inputs[2].Mean != 0 {
		t.Errorf("a constant column: mean %g, deviation %g", b.Mean, b.Deviation)
	}
	for _, bad := range []table.Moments{nil, m[1:], append(m[:6:6], 1, 1, 1), {0, 0, 0, 1, 1, 1}, {2, 4, 1, 1, 1, 1}, {1, math.NaN(), 1, 1, 1, 1}, {1, 1, math.Inf(1), 1, 1, 1}} {
		if _, err := f.Standardised(bad); !errors.Is(err, table.ErrFeatures) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
