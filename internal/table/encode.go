package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"atoll/internal/core"
	"atoll/internal/learn"
)

// encoder turns rows into examples.
type encoder struct {
	schema  *Schema
	inputs  []encodedInput
	label   int // its field
	classes map[string]int
	unit    int // its field, or -1
	out     *learn.Examples
	spelt   []byte
}

type encodedInput struct {
	*Input
	field  int
	values map[string]int // of a category
}

func newEncoder(f *Features, s *Schema) (*encoder, error) {
	if err := f.Check(s); err != nil {
		return nil, err
	}
	e := &encoder{schema: s, label: s.index[f.Label.Column], classes: index(f.Label.Classes), unit: -1, out: &learn.Examples{Width: f.Width()}}
	if f.Unit != "" {
		e.unit = s.index[f.Unit]
		e.out.Units = []uint64{}
	}
	for i := range f.Inputs {
		in := &f.Inputs[i]
		e.inputs = append(e.inputs, encodedInput{in, s.index[in.Column], index(in.Values)})
		if in.As == AsText {
			e.out.Texts = []string{}
		}
	}
	return e, nil
}

func index(values []string) map[string]int {
	m := make(map[string]int, len(values))
	for i, v := range values {
		m[v] = i
	}
	return m
}

// add appends one row, or none of it.
func (e *encoder) add(row Row) error {
	wrong := func(field int, err error) error {
		return fmt.Errorf("%w: row %d, column %q: %w", ErrFeatures, row.Number, e.schema.Fields[field].Name, err)
	}
	if len(e.out.X)+e.out.Width > MaxNumbers {
		return fmt.Errorf("%w: %d rows of %d numbers are all that fit; use fewer inputs, or a part of the rows", ErrFeatures, e.out.Len(), e.out.Width)
	}
	class, ok := e.classes[e.schema.Fields[e.label].Spell(row.Cells[e.label])]
	if !ok {
		return wrong(e.label, errors.New("the label is none of the classes; add it to them, or take the row out"))
	}
	before := len(e.out.X)
	for i := range e.inputs {
		in := &e.inputs[i]
		if err := e.input(in, row.Cells[in.field]); err != nil {
			e.out.X = e.out.X[:before]
			return wrong(in.field, err)
		}
	}
	e.out.Labels = append(e.out.Labels, int32(class))
	if e.unit >= 0 {
		name := []string{e.schema.Fields[e.unit].Name}
		e.spelt = e.schema.appendKey(e.spelt[:0], name, row.Cells)
		d := core.DigestOf(e.spelt)
		e.out.Units = append(e.out.Units, binary.LittleEndian.Uint64(d[:]))
	}
	return nil
}

// input appends what one cell becomes.
func (e *encoder) input(in *encodedInput, v Value) error {
	x := &e.out.X
	if v.Null {
		if !in.Missing {
			return errors.New("nothing is given; allow it with \"missing\": true, or fill the cell")
		}
		if in.As == AsText {
			e.out.Texts = append(e.out.Texts, "")
			return nil
		}
		*x = append(append(*x, make([]float32, in.width()-1)...), 1)
		return nil
	}
	switch in.As {
	case AsText:
		e.out.Texts = append(e.out.Texts, v.Text)
		return nil
	case AsBoolean:
		*x = append(*x, float32(v.Number))
	case AsNumber:
		n := in.standard(v.Number)
		if math.Abs(n) > math.MaxFloat32 {
			return errors.New("the number is too large; give its mean and deviation")
		}
		*x = append(*x, float32(n))
	case AsDate:
		t := v.Time()
		for _, p := range in.Parts {
			part := dateParts[p]
			*x = append(*x, float32(part.of(t)-part.low)/float32(part.high-part.low))
		}
	default:
		at, n, err := e.category(in, v)
		if err != nil {
			return err
		}
		hot := len(*x) + at
		*x = append(*x, make([]float32, n)...)
		(*x)[hot] = 1
	}
	if in.Missing {
		*x = append(*x, 0)
	}
	return nil
}

// category returns which of how many numbers is 1.
func (e *encoder) category(in *encodedInput, v Value) (at, n int, err error) {
	spelled := e.schema.Fields[in.field].Spell(v)
	if in.As == AsHashed {
		d := core.DigestOf([]byte(spelled))
		return int(binary.LittleEndian.Uint64(d[:]) % uint64(in.Buckets)), in.Buckets, nil
	}
	n = len(in.Values)
	if in.Others {
		n++
	}
	at, ok := in.values[spelled]
	if !ok && !in.Others {
		return 0, 0, errors.New("the value is not listed; list it, or allow \"others\": true")
	}
	if !ok {
		at = n - 1
	}
	return at, n, nil
}
