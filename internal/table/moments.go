package table

import (
	"fmt"
	"iter"
	"math"
	"slices"
)

// Moments are sums over rows from which a federation finds means and deviations,
// without any site's rows or own means: the moments of several sites add up, element
// by element, also under secure aggregation. For each input that is a number there are
// three: how many rows have one, their sum, and the sum of their squares, all of
// (v − mean)/deviation with the mean and deviation that the features begin with.
type Moments []float64

// Moments adds up the rows for which keep says so, or all if it is nil.
func (f *Features) Moments(s *Schema, rows iter.Seq2[Row, error], keep func(Row) bool) (Moments, error) {
	if err := f.Check(s); err != nil {
		return nil, err
	}
	var inputs []encodedInput
	for i := range f.Inputs {
		if in := &f.Inputs[i]; in.As == AsNumber {
			inputs = append(inputs, encodedInput{in, s.index[in.Column], nil})
		}
	}
	m := make(Moments, 3*len(inputs))
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if keep != nil && !keep(row) {
			continue
		}
		for i, in := range inputs {
			if v := row.Cells[in.field]; !v.Null {
				n := in.standard(v.Number)
				m[3*i]++
				m[3*i+1] += n
				m[3*i+2] += float64(n * n)
			}
		}
	}
	return m, nil
}

// standard is what becomes of a number.
func (in *Input) standard(v float64) float64 {
	v -= in.Mean
	if in.Deviation > 0 {
		v /= in.Deviation
	}
	return v
}

// Standardised returns the features with the means and deviations that follow from
// moments, which are those of all sites together. A column that is the same in all rows
// keeps a deviation of 1.
func (f *Features) Standardised(m Moments) (*Features, error) {
	out := *f
	out.Inputs = slices.Clone(f.Inputs)
	at := 0
	for i := range out.Inputs {
		in := &out.Inputs[i]
		if in.As != AsNumber {
			continue
		}
		if at+3 > len(m) {
			return nil, fmt.Errorf("%w: %d moments, want three for each number", ErrFeatures, len(m))
		}
		n, sum, square := m[at], m[at+1], m[at+2]
		at += 3
		mean := sum / n
		variance := square/n - float64(mean*mean)
		if !(n >= 1) || math.IsInf(sum, 0) || math.IsInf(square, 0) || !(variance > -1e-6*(1+square/n)) {
			return nil, fmt.Errorf("%w: column %q: a count of %g, a sum of %g and a sum of squares of %g are those of no rows", ErrFeatures, in.Column, n, sum, square)
		}
		unit := in.Deviation
		if unit == 0 {
			unit = 1
		}
		in.Mean, in.Deviation = in.Mean+float64(mean*unit), 1
		if deviation := math.Sqrt(max(variance, 0)); deviation > 1e-9 {
			in.Deviation = deviation * unit
		}
	}
	if at != len(m) {
		return nil, fmt.Errorf("%w: %d moments, want %d", ErrFeatures, len(m), at)
	}
	return &out, nil
}
