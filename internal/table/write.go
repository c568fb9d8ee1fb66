package table

import (
	"encoding/csv"
	"errors"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// WriteCSV writes rows as a CSV file that ReadCSV of the same resource reads again, cell
// by cell, such as a site's part of a table. It refuses what the resource cannot spell:
// an empty cell where no missing value is named, or a text that stands for one.
func (res *Resource) WriteCSV(w io.Writer, rows iter.Seq2[Row, error]) error {
	out := csv.NewWriter(w)
	out.Comma = res.Dialect.Delimiter
	record := make([]string, len(res.Schema.Fields))
	if res.Dialect.Header {
		for i := range record {
			record[i] = res.Schema.Fields[i].Name
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	for row, err := range rows {
		if err != nil {
			return err
		}
		for i, v := range row.Cells {
			f := &res.Schema.Fields[i]
			if record[i], err = res.cell(f, v); err != nil {
				return &RowError{File: "output", Row: row.Number, Column: f.Name, Err: err}
			}
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// cell is what stands in the file for v.
func (res *Resource) cell(f *Field, v Value) (string, error) {
	text, err := f.write(v)
	switch {
	case err != nil:
		return "", err
	case text == "" && len(res.Schema.Fields) == 1:
		return "", errors.New("an empty line is no row of a CSV file: name another missing value")
	case res.Dialect.SkipInitialSpace && strings.TrimLeft(text, " \t") != text:
		return "", errors.New("a text begins with a space, which the dialect skips")
	case strings.Contains(text, "\r"):
		return "", errors.New("a text holds CR, which CSV takes for the end of a line")
	}
	return text, nil
}

// write spells v as the field's own description has it.
func (f *Field) write(v Value) (string, error) {
	var text string
	switch {
	case v.Null:
		if len(f.missing) == 0 {
			return "", errors.New("nothing is given, and the schema names no missing value to write for it")
		}
		return f.missing[0], nil
	case f.Type == Boolean:
		words := f.no
		if v.Number != 0 {
			words = f.yes
		}
		if len(words) == 0 {
			return "", errors.New("the schema names no word for this boolean")
		}
		text = words[0]
	case f.Type == Date || f.Type == DateTime:
		text = v.Time().Format(f.layout)
	case f.Type == Number || f.Type == Integer:
		text = strings.Replace(strconv.FormatFloat(v.Number, 'f', -1, 64), ".", f.decimal, 1)
	default:
		text = v.Text
	}
	if slices.Contains(f.missing, text) {
		return "", errors.New("a value is spelled as what stands for nothing: change missingValues")
	}
	return text, nil
}
