package table

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// MaxUnique is the most rows over which a primary key, or a unique field, is checked:
// each takes a digest of 16 bytes in memory.
const MaxUnique = 1 << 22

// ErrRow means that a row, or a file, is not what its description says.
var ErrRow = errors.New("table")

// Row is one row. Its cells are in the order of the schema's fields, and are only good
// until the next row is read.
type Row struct {
	Number int // from 1
	Cells  []Value
}

// RowError says where a file is wrong. It never quotes what stands there: errors are
// read by people who may not see the rows.
type RowError struct {
	File   string
	Row    int    // from 1; 0: the file as a whole
	Line   int    // of a CSV file, from 1; else 0
	Column string // its name, or ""
	Err    error  // what is wrong, and what is wanted
}

func (e *RowError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ", line %d", e.Line)
	}
	if e.Row > 0 {
		fmt.Fprintf(&b, ", row %d", e.Row)
	}
	if e.Column != "" {
		fmt.Fprintf(&b, ", column %q", e.Column)
	}
	return b.String() + ": " + e.Err.Error()
}

// Unwrap returns what is wrong, and that it is an ErrRow.
func (e *RowError) Unwrap() []error { return []error{ErrRow, e.Err} }

// checker holds rows to the constraints of a schema.
type checker struct {
	schema *Schema
	keys   map[[16]byte]struct{}
	unique map[int]map[[16]byte]struct{} // by field
	spelt  []byte
}

func newChecker(s *Schema) *checker {
	c := &checker{schema: s, keys: make(map[[16]byte]struct{}), unique: make(map[int]map[[16]byte]struct{})}
	for i := range s.Fields {
		if s.Fields[i].Constraints.Unique {
			c.unique[i] = make(map[[16]byte]struct{})
		}
	}
	return c
}

// row refuses a row that breaks a constraint, and names the column.
func (c *checker) row(cells []Value) (column string, err error) {
	for i, v := range cells {
		f := &c.schema.Fields[i]
		if err := f.check(v); err != nil {
			return f.Name, err
		}
		if seen := c.unique[i]; seen != nil && !v.Null {
			c.spelt = append(c.spelt[:0], f.Spell(v)...)
			if err := c.once(seen); err != nil {
				return f.Name, err
			}
		}
	}
	if len(c.schema.PrimaryKey) == 0 {
		return "", nil
	}
	c.spelt = c.schema.appendKey(c.spelt[:0], c.schema.PrimaryKey, cells)
	if err := c.once(c.keys); err != nil {
		return strings.Join(c.schema.PrimaryKey, ", "), err
	}
	return "", nil
}

func (c *checker) once(seen map[[16]byte]struct{}) error {
	d := sha256.Sum256(c.spelt)
	k := [16]byte(d[:])
	if _, twice := seen[k]; twice {
		return errors.New("an earlier row has the same value, which must be unique")
	}
	if len(seen) == MaxUnique {
		return fmt.Errorf("what is unique can be checked over %d rows; split the file, or take the constraint out of the schema", MaxUnique)
	}
	seen[k] = struct{}{}
	return nil
}

// appendKey appends what tells the rows with other values in these columns apart.
func (s *Schema) appendKey(b []byte, columns []string, cells []Value) []byte {
	for _, name := range columns {
		i := s.index[name]
		b = fmt.Appendf(b, "%t%q", cells[i].Null, s.Fields[i].Spell(cells[i]))
	}
	return b
}
