package table

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Resource is a table's description: what its columns are, and how its CSV is written.
type Resource struct {
	Schema  *Schema
	Dialect Dialect
}

// Dialect is how a CSV file is written.
type Dialect struct {
	Header           bool // the first line has the columns' names
	Delimiter        rune
	SkipInitialSpace bool // spaces after a delimiter are no part of the value
}

// described is what the standard says a schema, field and so on may have. A pointer is
// nil where nothing is said.
type described struct {
	Fields        []json.RawMessage `json:"fields"`
	MissingValues *[]string         `json:"missingValues"`
	PrimaryKey    json.RawMessage   `json:"primaryKey"`
	FieldsMatch   json.RawMessage   `json:"fieldsMatch"`
}

type describedField struct {
	Name          string          `json:"name"`
	Type          string          `json:"type"`
	Format        string          `json:"format"`
	Constraints   json.RawMessage `json:"constraints"`
	MissingValues *[]string       `json:"missingValues"`
	TrueValues    *[]string       `json:"trueValues"`
	FalseValues   *[]string       `json:"falseValues"`
	DecimalChar   string          `json:"decimalChar"`
	GroupChar     string          `json:"groupChar"`
}

// annotations are what a resource may say that changes nothing here.
var annotations = []string{"$schema", "name", "title", "description", "profile", "sources", "licenses", "homepage", "path", "format", "mediatype", "encoding", "bytes", "hash", "version", "created", "contributors", "keywords"}

// ParseResource reads the JSON of a Table Schema, or of a Data Resource that has one.
func ParseResource(description []byte) (*Resource, error) {
	if len(description) > MaxSchema {
		return nil, fmt.Errorf("%w: a description of %d bytes, at most %d", ErrSchema, len(description), MaxSchema)
	}
	var outer struct {
		Schema  json.RawMessage `json:"schema"`
		Dialect json.RawMessage `json:"dialect"`
	}
	res := &Resource{Dialect: Dialect{Header: true, Delimiter: ','}}
	schema := json.RawMessage(description)
	var probe map[string]json.RawMessage
	if err := json.Unmarshal(description, &probe); err != nil {
		return nil, fmt.Errorf("%w: not a JSON object: %w", ErrSchema, err)
	}
	if _, wrapped := probe["schema"]; wrapped {
		if err := decode(description, &outer, "resource", annotations...); err != nil {
			return nil, err
		}
		schema = outer.Schema
		if outer.Dialect != nil {
			if err := res.Dialect.parse(outer.Dialect); err != nil {
				return nil, err
			}
		}
	}
	var err error
	res.Schema, err = parseSchema(schema)
	return res, err
}

// decode reads a JSON object and refuses properties that dst has not, by name.
func decode(b []byte, dst any, what string, skip ...string) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("%w: %s: want a JSON object: %w", ErrSchema, what, err)
	}
	for _, name := range skip {
		delete(all, name)
	}
	rest, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSchema, what, err)
	}
	d := json.NewDecoder(bytes.NewReader(rest))
	d.DisallowUnknownFields()
	if err := d.Decode(dst); err != nil {
		return fmt.Errorf("%w: %s: not supported: %w", ErrSchema, what, err)
	}
	return nil
}

func (d *Dialect) parse(b []byte) error {
	var j struct {
		Header           *bool   `json:"header"`
		Delimiter        *string `json:"delimiter"`
		SkipInitialSpace bool    `json:"skipInitialSpace"`
		QuoteChar        *string `json:"quoteChar"`
		DoubleQuote      *bool   `json:"doubleQuote"`
		LineTerminator   *string `json:"lineTerminator"`
	}
	if err := decode(b, &j, "dialect", "$schema", "title", "description"); err != nil {
		return err
	}
	if j.QuoteChar != nil && *j.QuoteChar != `"` || j.DoubleQuote != nil && !*j.DoubleQuote {
		return fmt.Errorf("%w: dialect: only the quote character \", doubled within quotes, is supported", ErrSchema)
	}
	if j.LineTerminator != nil && !slices.Contains([]string{"\n", "\r\n", "\r"}, *j.LineTerminator) {
		return fmt.Errorf("%w: dialect: line terminator %q, want LF, CRLF or CR (which of them is found out)", ErrSchema, *j.LineTerminator)
	}
	if j.Header != nil {
		d.Header = *j.Header
	}
	if j.Delimiter != nil {
		r := []rune(*j.Delimiter)
		if len(r) != 1 || strings.ContainsRune("\"\r\n\uFFFD", r[0]) || r[0] == 0 {
			return fmt.Errorf("%w: dialect: delimiter %q, want one character, no quote and no line end", ErrSchema, *j.Delimiter)
		}
		d.Delimiter = r[0]
	}
	d.SkipInitialSpace = j.SkipInitialSpace
	return nil
}

func parseSchema(b []byte) (*Schema, error) {
	var d described
	if err := decode(b, &d, "schema", "$schema", "name", "title", "description", "examples", "example", "rdfType"); err != nil {
		return nil, err
	}
	if d.FieldsMatch != nil && !slices.Contains([]string{`"exact"`, `["exact"]`}, string(d.FieldsMatch)) {
		return nil, fmt.Errorf("%w: fieldsMatch %s is not supported, only \"exact\"", ErrSchema, d.FieldsMatch)
	}
	missing := []string{""}
	if d.MissingValues != nil {
		missing = *d.MissingValues
	}
	s := &Schema{}
	var err error
	if s.PrimaryKey, err = oneOrMany(d.PrimaryKey); err != nil {
		return nil, fmt.Errorf("%w: primaryKey: %w", ErrSchema, err)
	}
	for i, raw := range d.Fields {
		f, err := parseField(raw, missing)
		if err != nil {
			return nil, fmt.Errorf("field %d: %w", i+1, err)
		}
		s.Fields = append(s.Fields, f)
	}
	return s, s.finish()
}

// oneOrMany reads a string or an array of strings.
func oneOrMany(b json.RawMessage) ([]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var one string
	if json.Unmarshal(b, &one) == nil {
		return []string{one}, nil
	}
	var many []string
	err := json.Unmarshal(b, &many)
	return many, err
}

func parseField(raw json.RawMessage, missing []string) (Field, error) {
	var d describedField
	if err := decode(raw, &d, "field", "title", "description", "example", "examples", "rdfType"); err != nil {
		return Field{}, err
	}
	refuse := func(format string, args ...any) (Field, error) {
		return Field{}, fmt.Errorf("%w: field %q: %s", ErrSchema, d.Name, fmt.Sprintf(format, args...))
	}
	f := Field{Name: d.Name, Type: Type(d.Type), missing: missing, decimal: ".", group: d.GroupChar}
	if !slices.Contains(types, f.Type) {
		return refuse("type %q is not supported, want one of %v", d.Type, types)
	}
	if d.MissingValues != nil {
		f.missing = *d.MissingValues
	}
	if (d.TrueValues != nil || d.FalseValues != nil) && f.Type != Boolean {
		return refuse("trueValues and falseValues are for booleans")
	}
	f.yes, f.no = []string{"true", "True", "TRUE", "1"}, []string{"false", "False", "FALSE", "0"}
	if d.TrueValues != nil {
		f.yes = *d.TrueValues
	}
	if d.FalseValues != nil {
		f.no = *d.FalseValues
	}
	if (d.DecimalChar != "" && f.Type != Number) || d.GroupChar != "" && f.Type != Number && f.Type != Integer {
		return refuse("decimalChar and groupChar are for numbers")
	}
	if d.DecimalChar != "" {
		f.decimal = d.DecimalChar
	}
	if f.decimal == f.group {
		return refuse("decimalChar and groupChar are both %q", f.group)
	}
	var err error
	if f.layout, err = dateLayout(f.Type, d.Format); err != nil {
		return refuse("%v", err)
	}
	if d.Constraints != nil {
		if err := f.parseConstraints(d.Constraints); err != nil {
			return refuse("%v", err)
		}
	}
	return f, nil
}

func (f *Field) parseConstraints(b []byte) error {
	var d struct {
		Required         bool              `json:"required"`
		Unique           bool              `json:"unique"`
		Enum             []json.RawMessage `json:"enum"`
		Minimum          json.RawMessage   `json:"minimum"`
		Maximum          json.RawMessage   `json:"maximum"`
		ExclusiveMinimum json.RawMessage   `json:"exclusiveMinimum"`
		ExclusiveMaximum json.RawMessage   `json:"exclusiveMaximum"`
		MinLength        *int              `json:"minLength"`
		MaxLength        *int              `json:"maxLength"`
		Pattern          *string           `json:"pattern"`
	}
	if err := decode(b, &d, "constraints"); err != nil {
		return err
	}
	c := &f.Constraints
	c.Required, c.Unique, c.MinLength, c.MaxLength = d.Required, d.Unique, d.MinLength, d.MaxLength
	f.enum = make(map[Value]bool, len(d.Enum))
	for _, raw := range d.Enum {
		v, err := f.constant(raw)
		if err != nil {
			return fmt.Errorf("enum: %w", err)
		}
		c.Enum = append(c.Enum, v)
		f.enum[v] = true
	}
	for _, l := range []struct {
		raw json.RawMessage
		to  **Value
	}{{d.Minimum, &c.Minimum}, {d.Maximum, &c.Maximum}, {d.ExclusiveMinimum, &c.ExclusiveMin}, {d.ExclusiveMaximum, &c.ExclusiveMax}} {
		if l.raw == nil {
			continue
		}
		v, err := f.constant(l.raw)
		if err != nil || f.Type == String || f.Type == Boolean {
			return fmt.Errorf("limit %s of a %s: %w", l.raw, f.Type, err)
		}
		*l.to = &v
	}
	if (c.MinLength != nil || c.MaxLength != nil || d.Pattern != nil) && f.Type != String {
		return fmt.Errorf("minLength, maxLength and pattern are for strings")
	}
	if d.Pattern != nil {
		p, err := regexp.Compile(`^(?:` + *d.Pattern + `)$`)
		if err != nil {
			return fmt.Errorf("pattern: %w", err)
		}
		c.Pattern = p
	}
	return nil
}

// constant reads a value that stands in a schema: as JSON's own type or as a string.
func (f *Field) constant(raw json.RawMessage) (Value, error) {
	text := string(raw)
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return Value{}, err
		}
	}
	plain := *f // limits are written in the standard's default spelling
	plain.missing, plain.decimal, plain.group = nil, ".", ""
	plain.yes, plain.no = []string{"true"}, []string{"false"}
	plain.layout, _ = dateLayout(f.Type, "")
	return plain.read(text)
}
