package table_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"atoll/internal/table"
)

const loans = `{"fields": [
	{"name": "amount", "type": "number"}, {"name": "job", "type": "string"}, {"name": "zip", "type": "string"},
	{"name": "owner", "type": "boolean"}, {"name": "since", "type": "datetime"}, {"name": "note", "type": "string"},
	{"name": "who", "type": "integer"}, {"name": "paid", "type": "boolean"}]}`

const loansHeader = "amount,job,zip,owner,since,note,who,paid\n"

var paid = table.Label{Column: "paid", Classes: []string{"false", "true"}}

func TestFeatures(t *testing.T) {
	t.Parallel()
	f := table.Features{Label: paid, Unit: "who", Inputs: []table.Input{
		{Column: "amount", As: table.AsNumber, Mean: 10, Deviation: 4, Missing: true},
		{Column: "job", As: table.AsCategory, Values: []string{"cook", "smith"}, Others: true, Missing: true},
		{Column: "zip", As: table.AsHashed, Buckets: 3},
		{Column: "owner", As: table.AsBoolean},
		{Column: "since", As: table.AsDate, Parts: []string{"weekday", "hour", "month"}},
	}}
	r := resource(t, loans)
	file := loansHeader + "12,smith,8001,1,2026-11-21T23:00:00Z,,5,true\n,sailor,8001,0,2026-01-25T00:00:00Z,,6,false\n-2,,9000,0,2026-12-25T11:30:00Z,,5,true\n"
	e, err := f.Examples(r.Schema, r.ReadCSV("loans", strings.NewReader(file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	names := f.Names()
	if e.Width != f.Width() || len(names) != e.Width || e.Len() != 3 || !slices.Equal(e.Labels, []int32{1, 0, 1}) {
		t.Fatalf("%+v, names %q", e, names)
	}
	if e.Units[0] != e.Units[2] || e.Units[0] == e.Units[1] {
		t.Errorf("units %v", e.Units)
	}
	third := float32(11.0 / 23)
	for i, want := range []map[string]float32{
		{"amount": 0.5, "job=smith": 1, "owner": 1, "since.weekday": 1, "since.hour": 1, "since.month": float32(10) / 11},
		{"amount is missing": 1, "job=other": 1},
		{"amount": -3, "job is missing": 1, "since.weekday": float32(5) / 6, "since.hour": third, "since.month": 1},
	} {
		hashed := 0
		for k, v := range e.Row(i) {
			if strings.HasPrefix(names[k], "zip#") {
				hashed += int(v)
			} else if v != want[names[k]] {
				t.Errorf("row %d: %s is %g, want %g", i, names[k], v, want[names[k]])
			}
		}
		if hashed != 1 {
			t.Errorf("row %d: %d of the buckets are set", i, hashed)
		}
	}
	only, err := f.Examples(r.Schema, r.ReadCSV("loans", strings.NewReader(file)), func(row table.Row) bool { return row.Number == 2 })
	if err != nil || only.Len() != 1 || only.Labels[0] != 0 {
		t.Errorf("one row of three: %+v, %v", only, err)
	}
}

// One pass gives each part what a pass of its own gives it.
func TestDivide(t *testing.T) {
	t.Parallel()
	r := resource(t, visits)
	file := visitsFile(100)
	for name, in := range map[string]table.Input{"numbers": {Column: "id", As: table.AsNumber}, "texts": {Column: "customer", As: table.AsText}} {
		f := table.Features{Inputs: []table.Input{in}, Label: table.Label{Column: "label", Classes: []string{"0", "1", "2"}}, Unit: "day"}
		of := func(row table.Row) int { return row.Number%5 - 1 }
		parts, err := f.Divide(r.Schema, r.ReadCSV("f", strings.NewReader(file)), 4, of)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range parts {
			want, err := f.Examples(r.Schema, r.ReadCSV("f", strings.NewReader(file)), func(row table.Row) bool { return of(row) == i })
			if err != nil || got.Len() != 20 || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, part %d: %+v, want %+v (%v)", name, i, got, want, err)
			}
		}
	}
}

func TestTextFeature(t *testing.T) {
	t.Parallel()
	r := resource(t, loans)
	f := table.Features{Label: paid, Inputs: []table.Input{{Column: "note", As: table.AsText, Missing: true}}}
	e, err := f.Examples(r.Schema, r.ReadCSV("loans", strings.NewReader(loansHeader+"1,,,1,,good,,true\n1,,,1,,,,false\n")), nil)
	if err != nil || !slices.Equal(e.Texts, []string{"good", ""}) || e.Width != 0 || e.Check(2) != nil {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestWrongFeatures(t *testing.T) {
	t.Parallel()
	number := table.Input{Column: "amount", As: table.AsNumber}
	for _, c := range []struct {
		input table.Input
		want  string
	}{
		{table.Input{Column: "x", As: table.AsNumber}, "no such column"},
		{table.Input{Column: "paid", As: table.AsBoolean}, "is the label"},
		{table.Input{Column: "who", As: table.AsNumber}, "or the unit"},
		{number, "named twice"},
		{table.Input{Column: "job", As: table.AsNumber}, `a string cannot be used as "number"`},
		{table.Input{Column: "job", As: "embedding"}, `cannot be used as "embedding"`},
		{table.Input{Column: "job", As: table.AsCategory}, "without values"},
		{table.Input{Column: "job", As: table.AsCategory, Values: []string{"a", "a"}}, `"a" is named twice`},
		{table.Input{Column: "job", As: table.AsCategory, Values: []string{"a"}, Buckets: 3}, "no use for"},
		{table.Input{Column: "job", As: table.AsHashed, Buckets: 1}, "1 buckets"},
		{table.Input{Column: "job", As: table.AsHashed, Buckets: table.MaxWidth}, "numbers a row, at most"},
		{table.Input{Column: "since", As: table.AsDate}, "some of its parts"},
		{table.Input{Column: "since", As: table.AsDate, Parts: []string{"century"}}, `part "century"`},
		{table.Input{Column: "note", As: table.AsText}, "the only input"},
		{table.Input{Column: "owner", As: table.AsBoolean, Mean: 1}, "no use for"},
	} {
		f := table.Features{Label: paid, Unit: "who", Inputs: []table.Input{number, c.input}}
		if err := f.Check(resource(t, loans).Schema); !errors.Is(err, table.ErrFeatures) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.input, err, c.want)
		}
	}
	for want, f := range map[string]table.Features{
		"no inputs":     {Label: paid},
		"for the label": {Inputs: []table.Input{number}, Label: table.Label{Column: "x", Classes: []string{"a", "b"}}},
		"1 classes":     {Inputs: []table.Input{number}, Label: table.Label{Column: "paid", Classes: []string{"true"}}},
		`class "yes"`:   {Inputs: []table.Input{number}, Label: table.Label{Column: "paid", Classes: []string{"true", "yes"}}},
		"for the unit":  {Inputs: []table.Input{number}, Label: paid, Unit: "x"},
		"deviation -1":  {Inputs: []table.Input{{Column: "amount", As: table.AsNumber, Deviation: -1}}, Label: paid},
	} {
		if err := f.Check(resource(t, loans).Schema); !errors.Is(err, table.ErrFeatures) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A row that does not fit the features is named.
func TestRowsThatDoNotFit(t *testing.T) {
	t.Parallel()
	r := resource(t, loans)
	for _, c := range []struct {
		input     table.Input
		row, want string
	}{
		{table.Input{Column: "amount", As: table.AsNumber}, ",,,,,,,true", `row 1, column "amount": nothing is given`},
		{table.Input{Column: "amount", As: table.AsNumber}, "1e60,,,,,,,true", `column "amount": the number is too large`},
		{table.Input{Column: "job", As: table.AsCategory, Values: []string{"cook"}}, ",secret,,,,,,true", `column "job": the value is not listed`},
		{table.Input{Column: "amount", As: table.AsNumber}, "1,,,,,,,", `column "paid": the label is none of the classes`},
	} {
		f := table.Features{Label: paid, Inputs: []table.Input{c.input}}
		_, err := f.Examples(r.Schema, r.ReadCSV("f", strings.NewReader(loansHeader+c.row+"\n")), nil)
		if !errors.Is(err, table.ErrFeatures) || !strings.Contains(fmt.Sprint(err), c.want) || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %v, want %s", c.row, err, c.want)
		}
	}
}
