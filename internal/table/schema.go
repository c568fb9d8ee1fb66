package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"atoll/internal/core"

	"github.com/gowebpki/jcs"
)

// Limits of a schema.
const (
	MaxSchema = 1 << 20 // bytes of its description
	MaxFields = 4096
)

// ErrSchema means that a description is wrong, or asks for what is not supported.
var ErrSchema = errors.New("schema")

// Type is the type of a field.
type Type string

// The types of fields.
const (
	String   Type = "string"
	Integer  Type = "integer"
	Number   Type = "number"
	Boolean  Type = "boolean"
	Date     Type = "date"
	DateTime Type = "datetime"
)

var types = []Type{String, Integer, Number, Boolean, Date, DateTime}

// Schema describes the columns of a table. It is immutable.
type Schema struct {
	Fields     []Field
	PrimaryKey []string

	index map[string]int
}

// Field is a column.
type Field struct {
	Name        string
	Type        Type
	Constraints Constraints

	missing, yes, no []string
	enum             map[Value]bool
	layout           string // of dates, as package time has it
	decimal, group   string
}

// Constraints are what a column's values must hold to. Limits and enumerations are
// values of the column's type.
type Constraints struct {
	Required, Unique                             bool
	Enum                                         []Value
	Minimum, Maximum, ExclusiveMin, ExclusiveMax *Value
	MinLength, MaxLength                         *int
	Pattern                                      *regexp.Regexp
}

// Field returns the field of that name.
func (s *Schema) Field(name string) (*Field, bool) {
	i, ok := s.index[name]
	if !ok {
		return nil, false
	}
	return &s.Fields[i], true
}

// Digest names what the schema's rows mean (see the package comment). Equal digests
// mean that models of one table fit the other.
func (s *Schema) Digest() core.Digest {
	type constraints struct {
		Required  bool     `json:"required,omitempty"`
		Unique    bool     `json:"unique,omitempty"`
		Enum      []string `json:"enum,omitempty"`
		Min       *string  `json:"minimum,omitempty"`
		Max       *string  `json:"maximum,omitempty"`
		Above     *string  `json:"exclusiveMinimum,omitempty"`
		Below     *string  `json:"exclusiveMaximum,omitempty"`
		MinLength *int     `json:"minLength,omitempty"`
		MaxLength *int     `json:"maxLength,omitempty"`
		Pattern   string   `json:"pattern,omitempty"`
	}
	type field struct {
		Name        string      `json:"name"`
		Type        Type        `json:"type"`
		Constraints constraints `json:"constraints"`
	}
	var d struct {
		Fields     []field  `json:"fields"`
		PrimaryKey []string `json:"primaryKey"`
	}
	d.PrimaryKey = append([]string{}, s.PrimaryKey...)
	for i := range s.Fields {
		f := &s.Fields[i]
		c := &f.Constraints
		spell := func(v *Value) *string {
			if v == nil {
				return nil
			}
			t := f.Spell(*v)
			return &t
		}
		x := field{f.Name, f.Type, constraints{
			Required: c.Required, Unique: c.Unique, Min: spell(c.Minimum), Max: spell(c.Maximum),
			Above: spell(c.ExclusiveMin), Below: spell(c.ExclusiveMax), MinLength: c.MinLength, MaxLength: c.MaxLength,
		}}
		for _, v := range c.Enum {
			x.Constraints.Enum = append(x.Constraints.Enum, f.Spell(v))
		}
		slices.Sort(x.Constraints.Enum)
		if c.Pattern != nil {
			x.Constraints.Pattern = c.Pattern.String()
		}
		d.Fields = append(d.Fields, x)
	}
	plain, err := json.Marshal(d)
	if err == nil {
		plain, err = jcs.Transform(plain)
	}
	if err != nil {
		panic(fmt.Sprintf("table: a schema of plain strings has no canonical form: %v", err))
	}
	return core.DigestOf(plain)
}

// Differences says how other differs from s, column by column, for an error that a
// person can act on. It is empty if their digests are equal.
func (s *Schema) Differences(other *Schema) []string {
	var out []string
	for i := range s.Fields {
		f := &s.Fields[i]
		switch g, ok := other.Field(f.Name); {
		case !ok:
			out = append(out, fmt.Sprintf("column %q is missing", f.Name))
		case g.Type != f.Type:
			out = append(out, fmt.Sprintf("column %q is of type %s, want %s", f.Name, g.Type, f.Type))
		}
	}
	for i := range other.Fields {
		if _, ok := s.Field(other.Fields[i].Name); !ok {
			out = append(out, fmt.Sprintf("column %q is not expected", other.Fields[i].Name))
		}
	}
	if len(out) == 0 && s.Digest() != other.Digest() {
		out = append(out, "the order of columns, a constraint or the primary key differs")
	}
	return out
}

// finish checks what concerns several fields, and indexes them.
func (s *Schema) finish() error {
	if len(s.Fields) == 0 || len(s.Fields) > MaxFields {
		return fmt.Errorf("%w: %d fields, want 1 to %d", ErrSchema, len(s.Fields), MaxFields)
	}
	s.index = make(map[string]int, len(s.Fields))
	for i := range s.Fields {
		name := s.Fields[i].Name
		if name == "" || len(name) > 200 || !utf8.ValidString(name) || strings.ContainsAny(name, "\r\n") {
			return fmt.Errorf("%w: field %d has the name %.40q, want 1 to 200 bytes of UTF-8 on one line", ErrSchema, i+1, name)
		}
		if _, twice := s.index[name]; twice {
			return fmt.Errorf("%w: two fields are named %q", ErrSchema, name)
		}
		s.index[name] = i
	}
	for i, k := range s.PrimaryKey {
		at, ok := s.index[k]
		if !ok || slices.Contains(s.PrimaryKey[:i], k) {
			return fmt.Errorf("%w: primary key %q is no field, or named twice", ErrSchema, k)
		}
		s.Fields[at].Constraints.Required = true // as the standard has it
	}
	return nil
}
