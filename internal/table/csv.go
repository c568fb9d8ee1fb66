package table

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
)

// MaxRecord is the most bytes that one row of a CSV file may have, about.
const MaxRecord = 1 << 20

// ReadCSV yields the rows of a CSV file. It ends with the first error, a *[RowError].
func (res *Resource) ReadCSV(name string, file io.Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		r := newCSVReader(name, file, res)
		if err := r.header(); err != nil {
			yield(Row{}, err)
			return
		}
		for {
			row, err := r.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

type csvReader struct {
	name    string
	dialect Dialect
	schema  *Schema
	check   *checker
	csv     *csv.Reader
	limit   *recordLimit
	row     Row
}

func newCSVReader(name string, file io.Reader, res *Resource) *csvReader {
	buf := bufio.NewReaderSize(file, 1<<16)
	limit := &recordLimit{r: plainLines(buf)}
	c := csv.NewReader(limit)
	c.Comma, c.TrimLeadingSpace = res.Dialect.Delimiter, res.Dialect.SkipInitialSpace
	c.ReuseRecord, c.FieldsPerRecord = true, -1
	return &csvReader{
		name: name, dialect: res.Dialect, schema: res.Schema, check: newChecker(res.Schema),
		csv: c, limit: limit, row: Row{Cells: make([]Value, len(res.Schema.Fields))},
	}
}

func (r *csvReader) header() error {
	if !r.dialect.Header {
		return nil
	}
	names, err := r.record()
	if errors.Is(err, io.EOF) {
		return &RowError{File: r.name, Err: errors.New("the file is empty; want a line with the columns' names")}
	}
	if err != nil {
		return err
	}
	if len(names) != len(r.schema.Fields) {
		return &RowError{File: r.name, Line: 1, Err: fmt.Errorf("the file has %d columns, the schema %d fields; they must be the same, in the same order", len(names), len(r.schema.Fields))}
	}
	for i, name := range names {
		if want := r.schema.Fields[i].Name; name != want {
			// What the file has there is not told: it may be the first row.
			return &RowError{File: r.name, Line: 1, Column: want, Err: fmt.Errorf("column %d has another name in the file; rename it there or in the schema, or say \"header\": false in the dialect if the file has no names", i+1)}
		}
	}
	return nil
}

// record reads the next line or, with quotes, lines.
func (r *csvReader) record() ([]string, error) {
	r.limit.left = MaxRecord
	rec, err := r.csv.Read()
	if err == nil || errors.Is(err, io.EOF) {
		return rec, err
	}
	out := &RowError{File: r.name, Row: r.row.Number + 1, Err: err}
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		out.Line, out.Err = parse.Line, fmt.Errorf("%w; a quote within a quoted value is written twice", parse.Err)
	}
	return nil, out
}

func (r *csvReader) next() (Row, error) {
	rec, err := r.record()
	if err != nil {
		return Row{}, err
	}
	r.row.Number++
	wrong := func(column int, name string, err error) error {
		line, _ := r.csv.FieldPos(min(column, len(rec)-1))
		return &RowError{File: r.name, Line: line, Row: r.row.Number, Column: name, Err: err}
	}
	if len(rec) != len(r.schema.Fields) {
		return Row{}, wrong(0, "", fmt.Errorf("%d values, want %d; is the delimiter %q right?", len(rec), len(r.schema.Fields), r.dialect.Delimiter))
	}
	for i, cell := range rec {
		f := &r.schema.Fields[i]
		if r.row.Cells[i], err = f.read(cell); err != nil {
			return Row{}, wrong(i, f.Name, err)
		}
	}
	if column, err := r.check.row(r.row.Cells); err != nil {
		return Row{}, wrong(max(0, r.schema.index[column]), column, err)
	}
	return r.row, nil
}

// plainLines skips a byte order mark, and makes LF of CR in a file whose first line
// ends with CR alone; encoding/csv takes LF and CRLF.
func plainLines(buf *bufio.Reader) io.Reader {
	// What goes wrong in these looks goes wrong again when rows are read.
	if mark, _ := buf.Peek(3); bytes.Equal(mark, []byte("\xEF\xBB\xBF")) {
		_, _ = buf.Discard(3)
	}
	begin, _ := buf.Peek(buf.Size())
	at := bytes.IndexAny(begin, "\r\n")
	if at < 0 || begin[at] == '\n' || at+1 < len(begin) && begin[at+1] == '\n' {
		return buf
	}
	return &crReader{buf}
}

type crReader struct{ r io.Reader }

func (c *crReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	for i, b := range p[:n] {
		if b == '\r' {
			p[i] = '\n'
		}
	}
	return n, err
}

// recordLimit keeps one record from filling the memory.
type recordLimit struct {
	r    io.Reader
	left int
}

func (l *recordLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("a row of over %d bytes; is a quote missing?", MaxRecord)
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}
