package table_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/table"
)

var spellings = []string{
	strings.Replace(people, "[A-Z].*", "(?s)[A-Z].*", 1),
	`{"dialect": {"header": false, "delimiter": ";"}, "schema": {"missingValues": ["-", "?"], "fields": [
		{"name": "a", "type": "number", "decimalChar": ",", "groupChar": "."}, {"name": "b", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]},
		{"name": "c", "type": "date", "format": "%d.%m.%Y"}, {"name": "d", "type": "datetime", "format": "%Y-%m-%dT%H:%M:%S"}, {"name": "e", "type": "string"}]}}`,
}

// draw makes cells that the schema allows.
func draw(t *rapid.T, s *table.Schema, n int) []table.Row {
	var rows []table.Row
	for i := range n {
		row := table.Row{Number: i + 1}
		for k := range s.Fields {
			f := &s.Fields[k]
			var v table.Value
			switch f.Type {
			case table.Integer:
				v.Number = float64(i)
			case table.Number:
				v.Number = rapid.Float64Range(0.5, 2.9).Draw(t, "number")
			case table.Boolean:
				v.Number = float64(rapid.IntRange(0, 1).Draw(t, "boolean"))
			case table.Date:
				v.Number = float64(rapid.IntRange(10957, 30000).Draw(t, "day") * 86400)
			case table.DateTime:
				v.Number = float64(rapid.IntRange(0, 4_000_000_000).Draw(t, "second"))
			case table.String:
				v.Text = "X" + rapid.StringOf(rapid.SampledFrom([]rune("ab ,;\"\n.é"))).Draw(t, "text") + "x"
			}
			if !f.Constraints.Required && rapid.IntRange(0, 4).Draw(t, "null") == 0 {
				v = table.Value{Null: true}
			}
			row.Cells = append(row.Cells, v)
		}
		rows = append(rows, row)
	}
	return rows
}

// What is written is read again.
func TestWrittenRowsAreRead(t *testing.T) {
	t.Parallel()
	for _, description := range spellings {
		res := resource(t, description)
		rapid.Check(t, func(t *rapid.T) {
			rows := draw(t, res.Schema, rapid.IntRange(0, 4).Draw(t, "rows"))
			each := func(yield func(table.Row, error) bool) {
				for _, r := range rows {
					if !yield(r, nil) {
						return
					}
				}
			}
			var b bytes.Buffer
			if err := res.WriteCSV(&b, each); err != nil {
				t.Fatal(err)
			}
			want, err := spell(res.Schema, each)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := spell(res.Schema, res.ReadCSV("f", &b)); err != nil || got != want {
				t.Fatalf("%v: read\n%s\nwant\n%s", err, got, want)
			}
		})
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		description string
		value       table.Value
		want        string
	}{
		{`{"missingValues": [], "fields": [{"name": "a", "type": "string"}]}`, table.Value{Null: true}, `row 1, column "a": nothing is given`},
		{`{"fields": [{"name": "a", "type": "string"}]}`, table.Value{}, "what stands for nothing"},
		{`{"fields": [{"name": "a", "type": "string"}]}`, table.Value{Null: true}, "an empty line"},
		{`{"fields": [{"name": "a", "type": "string"}]}`, table.Value{Text: "a\rb"}, "holds CR"},
		{`{"schema": {"fields": [{"name": "a", "type": "string"}]}, "dialect": {"skipInitialSpace": true}}`, table.Value{Text: " a"}, "begins with a space"},
		{`{"fields": [{"name": "a", "type": "boolean", "trueValues": []}]}`, table.Value{Number: 1}, "no word"},
	} {
		res := resource(t, c.description)
		err := res.WriteCSV(&bytes.Buffer{}, func(yield func(table.Row, error) bool) {
			yield(table.Row{Number: 1, Cells: []table.Value{c.value}}, nil)
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
