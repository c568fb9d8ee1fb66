package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"atoll/internal/learn"
)

// ErrFeatures means that features do not fit a schema, or a row the features.
var ErrFeatures = errors.New("features")

// Limits of features.
const (
	MaxWidth   = 1 << 16 // numbers of a row
	MaxNumbers = 1 << 30 // of all rows
)

// As is a way in which a column becomes numbers.
type As string

// The ways. AsNumber is (v − mean)/deviation. AsBoolean is 0 or 1. AsCategory is one
// number for each value, 1 for the one that the row has; AsHashed is the same over
// buckets that values are hashed into, where nobody may list them. AsDate is one number
// for each part, from 0 to 1. AsText is for the text model and stands alone.
const (
	AsNumber   As = "number"
	AsBoolean  As = "boolean"
	AsCategory As = "category"
	AsHashed   As = "hashed"
	AsDate     As = "date"
	AsText     As = "text"
)

// Features says what a model sees of a table's rows. It stands in a federation's
// specification.
type Features struct {
	Inputs []Input `json:"inputs"`
	Label  Label   `json:"label"`
	// Unit is the column that says whose row it is, where privacy is to hold for
	// people, and not only for rows.
	Unit string `json:"unit,omitempty"`
}

// Input is one column.
type Input struct {
	Column string `json:"column"`
	As     As     `json:"as"`

	Mean      float64 `json:"mean,omitempty"`      // of numbers; the federation's, not the site's
	Deviation float64 `json:"deviation,omitempty"` // 0: 1

	Values []string `json:"values,omitempty"` // of categories, as Field.Spell writes them
	// Others gives categories one more number, for all values that are not listed;
	// without it they are refused.
	Others  bool     `json:"others,omitempty"`
	Buckets int      `json:"buckets,omitempty"` // of hashed values
	Parts   []string `json:"parts,omitempty"`   // of dates: year, month, day, weekday, hour

	// Missing allows cells in which nothing is given: all numbers of the input are
	// then 0, and one more says so. Without it they are refused.
	Missing bool `json:"missing,omitempty"`
}

// Label is the column to predict.
type Label struct {
	Column  string   `json:"column"`
	Classes []string `json:"classes"` // as Field.Spell writes them, in the model's order
}

// width returns how many numbers the input makes.
func (in *Input) width() int {
	n := 1
	switch in.As {
	case AsCategory:
		n = len(in.Values)
		if in.Others {
			n++
		}
	case AsHashed:
		n = in.Buckets
	case AsDate:
		n = len(in.Parts)
	case AsText:
		return 0
	}
	if in.Missing {
		n++
	}
	return n
}

// Width returns how many numbers a row becomes: 0 for a text.
func (f *Features) Width() int {
	n := 0
	for i := range f.Inputs {
		n += f.Inputs[i].width()
	}
	return n
}

// Names returns what each number of a row is, for people.
func (f *Features) Names() []string {
	var out []string
	for i := range f.Inputs {
		in := &f.Inputs[i]
		switch in.As {
		case AsNumber, AsBoolean:
			out = append(out, in.Column)
		case AsCategory:
			for _, v := range in.Values {
				out = append(out, in.Column+"="+v)
			}
			if in.Others {
				out = append(out, in.Column+"=other")
			}
		case AsHashed:
			for b := range in.Buckets {
				out = append(out, fmt.Sprintf("%s#%d", in.Column, b))
			}
		case AsDate:
			for _, p := range in.Parts {
				out = append(out, in.Column+"."+p)
			}
		case AsText:
			continue
		}
		if in.Missing {
			out = append(out, in.Column+" is missing")
		}
	}
	return out
}

// dateParts are what of a date can be an input, and its range.
var dateParts = map[string]struct {
	of        func(time.Time) int
	low, high int
}{
	"year":    {time.Time.Year, 1970, 2070},
	"month":   {func(t time.Time) int { return int(t.Month()) }, 1, 12},
	"day":     {time.Time.Day, 1, 31},
	"weekday": {func(t time.Time) int { return int(t.Weekday()) }, 0, 6}, // from Sunday
	"hour":    {time.Time.Hour, 0, 23},
}

// Check refuses features that do not fit the schema, with the reason.
func (f *Features) Check(s *Schema) error {
	refuse := func(column, format string, args ...any) error {
		return fmt.Errorf("%w: column %q: %s", ErrFeatures, column, fmt.Sprintf(format, args...))
	}
	if len(f.Inputs) == 0 {
		return fmt.Errorf("%w: no inputs are named", ErrFeatures)
	}
	seen := []string{f.Label.Column}
	for i := range f.Inputs {
		in := &f.Inputs[i]
		field, ok := s.Field(in.Column)
		if !ok {
			return refuse(in.Column, "the table has no such column")
		}
		if slices.Contains(seen, in.Column) || in.Column == f.Unit {
			return refuse(in.Column, "it is named twice, or is the label or the unit, which a model may not see")
		}
		seen = append(seen, in.Column)
		if err := in.check(field); err != nil {
			return refuse(in.Column, "%v", err)
		}
		if in.As == AsText && len(f.Inputs) > 1 {
			return refuse(in.Column, "a text is the only input of its model")
		}
	}
	if n := f.Width(); n > MaxWidth {
		return fmt.Errorf("%w: %d numbers a row, at most %d", ErrFeatures, n, MaxWidth)
	}
	if f.Unit != "" {
		if _, ok := s.Field(f.Unit); !ok {
			return refuse(f.Unit, "the table has no such column, for the unit")
		}
	}
	label, ok := s.Field(f.Label.Column)
	if !ok {
		return refuse(f.Label.Column, "the table has no such column, for the label")
	}
	if len(f.Label.Classes) < 2 {
		return refuse(f.Label.Column, "%d classes, want two or more", len(f.Label.Classes))
	}
	if err := distinct(label, f.Label.Classes); err != nil {
		return refuse(f.Label.Column, "class %v", err)
	}
	return nil
}

// check refuses an input that its column cannot be.
func (in *Input) check(field *Field) error {
	fits := map[As][]Type{
		AsNumber: {Integer, Number}, AsBoolean: {Boolean}, AsCategory: {String, Integer, Boolean},
		AsHashed: {String, Integer, Date}, AsDate: {Date, DateTime}, AsText: {String},
	}[in.As]
	if !slices.Contains(fits, field.Type) {
		return fmt.Errorf("a %s cannot be used as %q, which wants one of %v", field.Type, string(in.As), fits)
	}
	plain := Input{Column: in.Column, As: in.As, Missing: in.Missing}
	switch in.As {
	case AsNumber:
		plain.Mean, plain.Deviation = in.Mean, in.Deviation
		if !(in.Deviation >= 0) || in.Mean-in.Mean != 0 || in.Deviation-in.Deviation != 0 {
			return fmt.Errorf("mean %g and deviation %g: want numbers, the deviation positive", in.Mean, in.Deviation)
		}
	case AsCategory:
		plain.Values, plain.Others = in.Values, in.Others
		if len(in.Values) == 0 {
			return errors.New("a category without values")
		}
		if err := distinct(field, in.Values); err != nil {
			return fmt.Errorf("value %w", err)
		}
	case AsHashed:
		plain.Buckets = in.Buckets
		if in.Buckets < 2 || in.Buckets > MaxWidth {
			return fmt.Errorf("%d buckets, want 2 to %d", in.Buckets, MaxWidth)
		}
	case AsDate:
		plain.Parts = in.Parts
		if len(in.Parts) == 0 {
			return errors.New("want some of its parts: year, month, day, weekday, hour")
		}
		for _, p := range in.Parts {
			if _, ok := dateParts[p]; !ok {
				return fmt.Errorf("part %q, want year, month, day, weekday or hour", p)
			}
		}
	}
	if got, want := fmt.Sprintf("%+v", *in), fmt.Sprintf("%+v", plain); got != want {
		return fmt.Errorf("it has settings that %q has no use for", string(in.As))
	}
	return nil
}

// distinct refuses values that are named twice, or are none of the field's.
func distinct(f *Field, values []string) error {
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		read, err := f.constant(raw)
		if err != nil || f.Spell(read) != v {
			return fmt.Errorf("%q is no %s, or not spelled as one", v, f.Type)
		}
		if seen[v] {
			return fmt.Errorf("%q is named twice", v)
		}
		seen[v] = true
	}
	return nil
}

// Examples turns rows into examples. keep may be nil; else it says which rows count.
func (f *Features) Examples(s *Schema, rows iter.Seq2[Row, error], keep func(Row) bool) (*learn.Examples, error) {
	parts, err := f.Divide(s, rows, 1, func(r Row) int {
		if keep == nil || keep(r) {
			return 0
		}
		return -1
	})
	if err != nil {
		return nil, err
	}
	return parts[0], nil
}

// Divide turns rows into examples of so many parts, in one pass. part says which one a
// row belongs to, from 0, and below 0 for none.
func (f *Features) Divide(s *Schema, rows iter.Seq2[Row, error], parts int, part func(Row) int) ([]*learn.Examples, error) {
	enc, err := newEncoder(f, s)
	if err != nil {
		return nil, err
	}
	out := make([]*learn.Examples, parts)
	for i := range out {
		out[i] = enc.empty()
	}
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if at := part(row); at >= 0 {
			if err := enc.add(out[at], row); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
