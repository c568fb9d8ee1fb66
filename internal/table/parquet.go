package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/parquet-go/parquet-go"
)

const (
	parquetRows = 64       // rows that are read at once
	maxFooter   = 64 << 20 // bytes of a file's description of itself
)

// ReadParquet yields the rows of a Parquet file, whose columns have the names of the
// schema's fields, in any order. It ends with the first error, a *[RowError].
func (res *Resource) ReadParquet(name string, file io.ReaderAt, size int64) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		r := &parquetReader{name: name, schema: res.Schema, check: newChecker(res.Schema), row: Row{Cells: make([]Value, len(res.Schema.Fields))}}
		groups, err := r.open(file, size)
		if err != nil {
			yield(Row{}, &RowError{File: name, Err: err})
			return
		}
		for _, g := range groups {
			if !r.group(g, yield) {
				return
			}
		}
	}
}

type parquetReader struct {
	name   string
	schema *Schema
	check  *checker
	row    Row
	fields []int // of each column of the file
	read   []func(parquet.Value) (Value, error)
}

// damaged runs f, and makes an error of it if the library panics, which it does where
// a file contradicts itself.
func damaged(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged, or uses what is not supported: %v", p)
		}
	}()
	return f()
}

func (r *parquetReader) open(file io.ReaderAt, size int64) (groups []parquet.RowGroup, err error) {
	if err := checkFooter(file, size); err != nil {
		return nil, err
	}
	err = damaged(func() error {
		f, err := parquet.OpenFile(file, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		if err != nil {
			return fmt.Errorf("not a Parquet file that can be read: %w", err)
		}
		groups = f.RowGroups()
		return r.columns(f.Root().Columns())
	})
	return groups, err
}

// checkFooter refuses a file whose last bytes claim a footer that cannot be: the
// library makes room for whatever they say.
func checkFooter(file io.ReaderAt, size int64) error {
	var end [8]byte
	if size < 12 {
		return errors.New("not a Parquet file: it is too short")
	}
	if n, err := file.ReadAt(end[:], size-8); n < len(end) {
		return fmt.Errorf("not a Parquet file that can be read: %w", err)
	}
	if footer := int64(binary.LittleEndian.Uint32(end[:])); footer > min(size-12, maxFooter) || string(end[4:]) != "PAR1" {
		return fmt.Errorf("not a Parquet file that can be read: its last bytes want a footer of %d bytes, in a file of %d, and PAR1", footer, size)
	}
	return nil
}

// columns finds each column's field, and how its values are read.
func (r *parquetReader) columns(columns []*parquet.Column) error {
	found := make(map[int]bool)
	for _, c := range columns {
		i, ok := r.schema.index[c.Name()]
		if !ok {
			return fmt.Errorf("column %q is not in the schema; add it there, or leave it out of the file", c.Name())
		}
		if !c.Leaf() || c.Repeated() || found[i] {
			return fmt.Errorf("column %q is a list or a group, or there twice; want one value a row", c.Name())
		}
		found[i] = true
		read, err := converter(&r.schema.Fields[i], c.Type())
		if err != nil {
			return fmt.Errorf("column %q: %w", c.Name(), err)
		}
		r.fields, r.read = append(r.fields, i), append(r.read, read)
	}
	for i := range r.schema.Fields {
		if !found[i] {
			return fmt.Errorf("column %q of the schema is not in the file", r.schema.Fields[i].Name)
		}
	}
	return nil
}

// group yields the rows of one row group, and reports whether to go on.
func (r *parquetReader) group(g parquet.RowGroup, yield func(Row, error) bool) bool {
	rows := g.Rows()
	defer rows.Close()
	buf := make([]parquet.Row, parquetRows)
	for {
		var n int
		var end bool
		err := damaged(func() error {
			var err error
			n, err = rows.ReadRows(buf)
			end = errors.Is(err, io.EOF)
			if end {
				err = nil
			} else if err == nil && n == 0 {
				err = io.ErrNoProgress
			}
			return err
		})
		for _, row := range buf[:n] {
			r.row.Number++
			if column, err := r.take(row); err != nil {
				yield(Row{}, &RowError{File: r.name, Row: r.row.Number, Column: column, Err: err})
				return false
			}
			if !yield(r.row, nil) {
				return false
			}
		}
		if err != nil {
			yield(Row{}, &RowError{File: r.name, Row: r.row.Number + 1, Err: err})
			return false
		}
		if end {
			return true
		}
	}
}

// take fills r.row.
func (r *parquetReader) take(values parquet.Row) (column string, err error) {
	if len(values) != len(r.fields) {
		return "", fmt.Errorf("%d values, want %d; the file is damaged", len(values), len(r.fields))
	}
	for i, v := range values {
		at := r.fields[i]
		if v.IsNull() {
			r.row.Cells[at] = Value{Null: true}
			continue
		}
		if r.row.Cells[at], err = r.read[i](v); err != nil {
			return r.schema.Fields[at].Name, err
		}
	}
	return r.check.row(r.row.Cells)
}
