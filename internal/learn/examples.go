// Package learn is the ground that those who train here share: [Examples], rows as
// numbers. They are made by internal/table from files, trained on by
// internal/learn/model at each site, and what comes of that is put together by
// internal/learn/merge. Package internal/learn/text is a classifier of texts for one
// machine that has them all.
package learn

import (
	"errors"
	"fmt"

	"atoll/internal/repro"
)

// ErrExamples means that rows cannot be trained on; the error says which and why.
var ErrExamples = errors.New("these rows cannot be trained on")

// Examples are labelled rows: of numbers, or of one text each. Slices that are set
// have as many elements as there are rows.
type Examples struct {
	Width  int       // numbers of a row; 0 where there are texts
	X      []float32 // the rows, one after another
	Texts  []string
	Labels []int32  // the class of each row, from 0
	Units  []uint64 // whose row it is: rows with equal units are one person's. nil: each row is its own
}

// Len returns the number of rows.
func (e *Examples) Len() int { return len(e.Labels) }

// Row returns the numbers of row i. They must not be changed.
func (e *Examples) Row(i int) []float32 { return e.X[i*e.Width : (i+1)*e.Width] }

// Pick returns copies of the rows named, in that order.
func (e *Examples) Pick(rows []int) *Examples {
	out := &Examples{Width: e.Width, Labels: make([]int32, 0, len(rows))}
	if e.Width > 0 {
		out.X = make([]float32, 0, len(rows)*e.Width)
	}
	for _, i := range rows {
		out.Labels = append(out.Labels, e.Labels[i])
		if e.Width > 0 {
			out.X = append(out.X, e.Row(i)...)
		}
		if e.Texts != nil {
			out.Texts = append(out.Texts, e.Texts[i])
		}
		if e.Units != nil {
			out.Units = append(out.Units, e.Units[i])
		}
	}
	return out
}

// Append adds the rows of more, which must be of the same kind.
func (e *Examples) Append(more *Examples) error {
	if e.Len() == 0 {
		e.Width = more.Width
	}
	if e.Width != more.Width || e.Len() > 0 && ((e.Texts == nil) != (more.Texts == nil) || (e.Units == nil) != (more.Units == nil)) {
		return fmt.Errorf("%w: rows of %d numbers beside rows of %d, or only some with texts or units", ErrExamples, e.Width, more.Width)
	}
	e.X, e.Texts = append(e.X, more.X...), append(e.Texts, more.Texts...)
	e.Labels, e.Units = append(e.Labels, more.Labels...), append(e.Units, more.Units...)
	return nil
}

// Check refuses rows that cannot be measured against a model of so many classes: none
// at all, slices that do not fit together, NaN and infinities, labels that are no class.
func (e *Examples) Check(classes int) error {
	n := e.Len()
	switch {
	case n == 0:
		return fmt.Errorf("%w: there are none", ErrExamples)
	case (e.Texts == nil) == (e.Width == 0), e.Texts != nil && len(e.Texts) != n, len(e.X) != n*e.Width, e.Units != nil && len(e.Units) != n:
		return fmt.Errorf("%w: %d labels beside %d numbers (%d a row), %d texts and %d units", ErrExamples, n, len(e.X), e.Width, len(e.Texts), len(e.Units))
	}
	if err := repro.Finite(e.X); err != nil {
		for i := range n {
			if err := repro.Finite(e.Row(i)); err != nil {
				return fmt.Errorf("%w: row %d: %w", ErrExamples, i, err)
			}
		}
	}
	for i, l := range e.Labels {
		if l < 0 || int(l) >= classes {
			return fmt.Errorf("%w: row %d has class %d, there are classes 0 to %d", ErrExamples, i, l, classes-1)
		}
	}
	return nil
}

// CheckTrainable is Check, and refuses rows that all have one label: they teach a
// model nothing but to name it.
func (e *Examples) CheckTrainable(classes int) error {
	if err := e.Check(classes); err != nil {
		return err
	}
	for _, l := range e.Labels {
		if l != e.Labels[0] {
			return nil
		}
	}
	return fmt.Errorf("%w: all %d have the same label (class %d), so there is nothing to tell apart", ErrExamples, e.Len(), e.Labels[0])
}
