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
	width   int
	text    bool
	numbers int // that there are so far, in all parts
	spelt   []byte
	x       []float32 // of the row at hand
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
	e := &encoder{schema: s, label: s.index[f.Label.Column], classes: index(f.Label.Classes), unit: -1, width: f.Width()}
	if f.Unit != "" {
		e.unit = s.index[f.Unit]
	}
	for i := range f.Inputs {
		in := &f.Inputs[i]
		e.inputs = append(e.inputs, encodedInput{in, s.index[in.Column], index(in.Values)})
		e.text = e.text || in.As == AsText
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

// empty returns examples without rows, of the kind that the rows become.
func (e *encoder) empty() *learn.Examples {
	out := &learn.Examples{Width: e.width}
	if e.text {
		out.Texts = []string{}
	}
	if e.unit >= 0 {
		out.Units = []uint64{}
	}
	return out
}

// add appends one row, or none of it.
func (e *encoder) add(out *learn.Examples, row Row) error {
	wrong := func(field int, err error) error {
		return fmt.Errorf("%w: row %d, column %q: %w", ErrFeatures, row.Number, e.schema.Fields[field].Name, err)
	}
	if e.numbers += e.width; e.numbers > MaxNumbers {
		return fmt.Errorf("%w: the rows become over %d numbers, %d each, the most that fit; use fewer inputs, or a part of the rows", ErrFeatures, MaxNumbers, e.width)
	}
	class, ok := e.classes[e.schema.Fields[e.label].Spell(row.Cells[e.label])]
	if !ok {
		return wrong(e.label, errors.New("the label is none of the classes; add it to them, or take the row out"))
	}
	e.x = e.x[:0]
	for i := range e.inputs {
		in := &e.inputs[i]
		if in.As == AsText {
			continue
		}
		if err := e.input(in, row.Cells[in.field]); err != nil {
			return wrong(in.field, err)
		}
	}
	if e.text {
		v := row.Cells[e.inputs[0].field]
		if v.Null && !e.inputs[0].Missing {
			return wrong(e.inputs[0].field, errNothing)
		}
		out.Texts = append(out.Texts, v.Text)
	}
	out.X = append(out.X, e.x...)
	out.Labels = append(out.Labels, int32(class))
	if e.unit >= 0 {
		name := []string{e.schema.Fields[e.unit].Name}
		e.spelt = e.schema.appendKey(e.spelt[:0], name, row.Cells)
		d := core.DigestOf(e.spelt)
		out.Units = append(out.Units, binary.LittleEndian.Uint64(d[:]))
	}
	return nil
}

// errNothing refuses a cell in which nothing is given.
var errNothing = errors.New("nothing is given; allow it with \"missing\": true, or fill the cell")

// input appends to e.x what one cell becomes.
func (e *encoder) input(in *encodedInput, v Value) error {
	x := &e.x
	if v.Null {
		if !in.Missing {
			return errNothing
		}
		*x = append(append(*x, make([]float32, in.width()-1)...), 1)
		return nil
	}
	switch in.As {
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
