package table

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Value is one cell: nothing, or a value of its field's type.
type Value struct {
	Null   bool
	Number float64 // integer, number; boolean as 0 and 1; date and datetime as seconds since 1970 in UTC
	Text   string  // string
}

// Time returns a date or datetime.
func (v Value) Time() time.Time { return time.Unix(int64(v.Number), 0).UTC() }

// maxInteger is the largest integer n for which n and n+1 are different numbers.
const maxInteger = 1<<53 - 1

// Spell writes v as this package reads it with the standard's default spelling. Equal
// values have equal spellings. Nothing is "".
func (f *Field) Spell(v Value) string {
	switch {
	case v.Null:
		return ""
	case f.Type == String:
		return v.Text
	case f.Type == Boolean:
		return strconv.FormatBool(v.Number != 0)
	case f.Type == Date:
		return v.Time().Format(time.DateOnly)
	case f.Type == DateTime:
		return v.Time().Format(time.RFC3339)
	}
	return strconv.FormatFloat(v.Number, 'g', -1, 64)
}

// read turns a cell's text into a value, and holds it to no constraints.
func (f *Field) read(cell string) (Value, error) {
	if slices.Contains(f.missing, cell) {
		return Value{Null: true}, nil
	}
	switch f.Type {
	case String:
		if !utf8.ValidString(cell) {
			return Value{}, errors.New("it is not UTF-8; convert the file")
		}
		return Value{Text: cell}, nil
	case Boolean:
		switch {
		case slices.Contains(f.yes, cell):
			return Value{Number: 1}, nil
		case slices.Contains(f.no, cell):
			return Value{}, nil
		}
		return Value{}, fmt.Errorf("want one of %q or %q; others can be named in trueValues and falseValues", f.yes, f.no)
	case Date, DateTime:
		t, err := time.Parse(f.layout, cell)
		if err != nil && f.layout == time.RFC3339 { // the standard lets the zone be left out
			t, err = time.Parse("2006-01-02T15:04:05", cell)
		}
		if err != nil {
			return Value{}, fmt.Errorf("want a %s like %s; other forms can be named in format", f.Type, example.Format(f.layout))
		}
		return Value{Number: float64(t.Unix())}, nil
	}
	return f.readNumber(cell)
}

// example is a time in which every part has another number.
var example = time.Date(2026, 11, 23, 17, 45, 59, 0, time.UTC)

func (f *Field) readNumber(cell string) (Value, error) {
	text := strings.TrimSpace(cell)
	if f.group != "" {
		text = strings.ReplaceAll(text, f.group, "")
	}
	if f.decimal != "." {
		if strings.Contains(text, ".") {
			return Value{}, fmt.Errorf("want a number with %q before its fraction", f.decimal)
		}
		text = strings.Replace(text, f.decimal, ".", 1)
	}
	for _, c := range []byte(text) { // no NaN, no hexadecimal, no underscores
		if (c < '0' || c > '9') && !strings.ContainsRune("+-.eE", rune(c)) {
			return Value{}, fmt.Errorf("want %s; what stands for nothing can be named in missingValues", f.article())
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Value{}, fmt.Errorf("want %s; what stands for nothing can be named in missingValues", f.article())
	}
	return f.number(n)
}

func (f *Field) article() string {
	if f.Type == Integer {
		return "an integer"
	}
	return "a number"
}

// number makes a value of n, which may be anything.
func (f *Field) number(n float64) (Value, error) {
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0):
		return Value{}, errors.New("NaN and infinities are no data; leave the cell empty where nothing is known")
	case f.Type == Integer && n != math.Trunc(n):
		return Value{}, errors.New("want an integer; declare the field as number if fractions are right")
	case f.Type == Integer && math.Abs(n) > maxInteger:
		return Value{}, errors.New("want an integer within ±(2^53 − 1); declare longer ones as string")
	}
	return Value{Number: n + 0}, nil
}

// check holds v to the field's constraints.
func (f *Field) check(v Value) error {
	c := &f.Constraints
	if v.Null {
		if c.Required {
			return errors.New("nothing is given, but the field is required")
		}
		return nil
	}
	limit := func(l *Value, wrong bool, word string) error {
		if l == nil || !wrong {
			return nil
		}
		return fmt.Errorf("want %s %s", word, f.Spell(*l))
	}
	var lo, hi, above, below bool
	if c.Minimum != nil {
		lo = v.Number < c.Minimum.Number
	}
	if c.Maximum != nil {
		hi = v.Number > c.Maximum.Number
	}
	if c.ExclusiveMin != nil {
		above = v.Number <= c.ExclusiveMin.Number
	}
	if c.ExclusiveMax != nil {
		below = v.Number >= c.ExclusiveMax.Number
	}
	if err := errors.Join(limit(c.Minimum, lo, "at least"), limit(c.Maximum, hi, "at most"),
		limit(c.ExclusiveMin, above, "more than"), limit(c.ExclusiveMax, below, "less than")); err != nil {
		return err
	}
	if len(c.Enum) > 0 && !f.enum[v] {
		return fmt.Errorf("want one of the %d values of the field's enum", len(c.Enum))
	}
	n := utf8.RuneCountInString(v.Text)
	switch {
	case c.MinLength != nil && n < *c.MinLength, c.MaxLength != nil && n > *c.MaxLength:
		return fmt.Errorf("a text of %d characters is too short or too long", n)
	case c.Pattern != nil && !c.Pattern.MatchString(v.Text):
		return fmt.Errorf("want what matches %s", c.Pattern)
	}
	return nil
}

// dateLayout turns the standard's format of a date into package time's. Formats other
// than the default one are refused for fields that are no dates.
func dateLayout(t Type, format string) (string, error) {
	switch {
	case t != Date && t != DateTime:
		if format != "" && format != "default" {
			return "", fmt.Errorf("format %q of a %s is not supported", format, t)
		}
		return "", nil
	case format == "" || format == "default":
		if t == Date {
			return time.DateOnly, nil
		}
		return time.RFC3339, nil
	case !strings.Contains(format, "%"):
		return "", fmt.Errorf("format %q is not supported, want default or a pattern such as %%d.%%m.%%Y", format)
	}
	var b strings.Builder
	for rest := format; rest != ""; {
		before, after, found := strings.Cut(rest, "%")
		if strings.ContainsFunc(before, func(r rune) bool { // package time would read them as parts
			return r == '_' || r != 'T' && r != 'Z' && (unicode.IsLetter(r) || unicode.IsDigit(r))
		}) {
			return "", fmt.Errorf("format %q: outside of %%-parts only T, Z and punctuation are supported", format)
		}
		b.WriteString(before)
		if !found {
			break
		}
		part, ok := map[byte]string{'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'z': "-0700"}[(after + " ")[0]]
		if !ok {
			return "", fmt.Errorf("format %q: supported are %%Y %%y %%m %%d %%H %%M %%S %%z", format)
		}
		b.WriteString(part)
		rest = after[1:]
	}
	return b.String(), nil
}
