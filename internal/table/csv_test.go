package table_test

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"atoll/internal/table"
)

func resource(t testing.TB, description string) *table.Resource {
	t.Helper()
	r, err := table.ParseResource([]byte(description))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const people = `{"fields": [
	{"name": "id", "type": "integer"},
	{"name": "name", "type": "string", "constraints": {"minLength": 2, "pattern": "[A-Z].*"}},
	{"name": "height", "type": "number", "constraints": {"minimum": 0.5, "exclusiveMaximum": 3}},
	{"name": "member", "type": "boolean"},
	{"name": "since", "type": "date", "constraints": {"minimum": "2000-01-01"}},
	{"name": "seen", "type": "datetime"}],
	"primaryKey": "id", "missingValues": ["", "?"]}`

const peopleHeader = "id,name,height,member,since,seen\n"

// spell writes all rows, cells separated by bars.
func spell(s *table.Schema, rows iter.Seq2[table.Row, error]) (string, error) {
	var out []string
	for row, err := range rows {
		if err != nil {
			return strings.Join(out, "\n"), err
		}
		var cells []string
		for i, v := range row.Cells {
			cells = append(cells, s.Fields[i].Spell(v))
		}
		out = append(out, fmt.Sprint(row.Number, ": ", strings.Join(cells, "|")))
	}
	return strings.Join(out, "\n"), nil
}

func TestCSV(t *testing.T) {
	t.Parallel()
	const want = "1: 7|Ada, née B.|1.7|true|2020-02-29|2021-01-01T10:00:00Z\n2: 8|Bo||false||2021-01-01T12:00:00Z"
	body := "7,\"Ada, née B.\",1.70,true,2020-02-29,2021-01-01T12:00:00+02:00\n8,Bo,?,0,,2021-01-01T12:00:00.999\n"
	for name, file := range map[string]string{
		"LF":                     peopleHeader + body,
		"CRLF":                   strings.ReplaceAll(peopleHeader+body, "\n", "\r\n"),
		"CR":                     strings.ReplaceAll(peopleHeader+body, "\n", "\r"),
		"no last line end":       strings.TrimSuffix(peopleHeader+body, "\n"),
		"CR, no last line end":   strings.TrimSuffix(strings.ReplaceAll(peopleHeader+body, "\n", "\r"), "\r"),
		"byte order mark":        "\xEF\xBB\xBF" + peopleHeader + body,
		"CR and byte order mark": "\xEF\xBB\xBF" + strings.ReplaceAll(peopleHeader+body, "\n", "\r"),
	} {
		r := resource(t, people)
		if got, err := spell(r.Schema, r.ReadCSV("f", strings.NewReader(file))); err != nil || got != want {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

// The limit is on a row, not on a file.
func TestLongFile(t *testing.T) {
	t.Parallel()
	r := resource(t, `{"fields": [{"name": "a", "type": "integer"}]}`)
	n := 0
	for row, err := range r.ReadCSV("f", strings.NewReader("a\n"+strings.Repeat("1234567\n", table.MaxRecord/3))) {
		if err != nil {
			t.Fatal(err)
		}
		n = row.Number
	}
	if n != table.MaxRecord/3 {
		t.Errorf("%d rows", n)
	}
}

// dialect spells everything otherwise than the standard does.
const dialect = `{"name": "x", "dialect": {"header": false, "delimiter": ";", "skipInitialSpace": true}, "schema": {"fields": [
		{"name": "a", "type": "number", "decimalChar": ",", "groupChar": "."},
		{"name": "b", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]},
		{"name": "c", "type": "date", "format": "%d.%m.%Y", "missingValues": ["-"]},
		{"name": "d", "type": "datetime", "format": "%Y-%m-%dT%H:%M:%S"}]}}`

func TestDialectsAndSpellings(t *testing.T) {
	t.Parallel()
	r := resource(t, dialect)
	got, err := spell(r.Schema, r.ReadCSV("f", strings.NewReader("1.234,5; ja; 24.12.2025; 2026-01-02T03:04:05\n-1e3;nein;-;2026-01-02T03:04:05\n")))
	if want := "1: 1234.5|true|2025-12-24|2026-01-02T03:04:05Z\n2: -1000|false||2026-01-02T03:04:05Z"; err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
}

// Each wrong file is refused with file, line, row and column, and without what stands there.
func TestWrongRows(t *testing.T) {
	t.Parallel()
	const good = "1,Ada,1.7,true,2020-02-29,2021-01-01T10:00:00Z\n"
	for _, c := range []struct{ file, want string }{
		{"", "f: the file is empty"},
		{"id,name\n", "f, line 1: the file has 2 columns, the schema 6"},
		{strings.Replace(peopleHeader, "name", "secret", 1), `f, line 1, column "name": column 2 has another name`},
		{peopleHeader + good + "secret,Bo,,,,\n", `f, line 3, row 2, column "id": want an integer; what stands for nothing`},
		{peopleHeader + "1.5,Bo,,,,\n", `column "id": want an integer; declare the field as number`},
		{peopleHeader + "9007199254740992,Bo,,,,\n", `column "id": want an integer within`},
		{peopleHeader + ",Bo,,,,\n", `column "id": nothing is given, but the field is required`},
		{peopleHeader + good + good, `line 3, row 2, column "id": an earlier row has the same value`},
		{peopleHeader + "1,B,,,,\n", `column "name": a text of 1 characters`},
		{peopleHeader + "1,bo secret,,,,\n", `column "name": want what matches`},
		{peopleHeader + "1,Bo\xff,,,,\n", `column "name": it is not UTF-8`},
		{peopleHeader + "1,Bo,0.4,,,\n", `column "height": want at least 0.5`},
		{peopleHeader + "1,Bo,3,,,\n", `column "height": want less than 3`},
		{peopleHeader + "1,Bo,NaN,,,\n", `column "height": want a number`},
		{peopleHeader + "1,Bo,Inf,,,\n", `column "height": want a number`},
		{peopleHeader + "1,Bo,1e999,,,\n", `column "height": want a number`},
		{peopleHeader + "1,Bo,0x1p1,,,\n", `column "height": want a number`},
		{peopleHeader + "1,Bo,,secret,,\n", `column "member": want one of ["true"`},
		{peopleHeader + "1,Bo,,,2020-02-30,\n", `column "since": want a date like 2026-11-23`},
		{peopleHeader + "1,Bo,,,1999-12-31,\n", `column "since": want at least 2000-01-01`},
		{peopleHeader + "1,Bo,,,,2020-02-20\n", `column "seen": want a datetime like 2026-11-23T17:45:59Z`},
		{peopleHeader + "1,Bo,,,\n", "f, line 2, row 1: 5 values, want 6; is the delimiter"},
		{peopleHeader + "1,\"Bo\"secret,,,,\n", "f, line 2, row 1: "},
		{peopleHeader + "1,\"" + strings.Repeat("secret\n", table.MaxRecord/6), "f, row 1: a row of over 1048576 bytes"},
	} {
		r := resource(t, people)
		_, err := spell(r.Schema, r.ReadCSV("f", strings.NewReader(c.file)))
		var where *table.RowError
		if !errors.As(err, &where) || !errors.Is(err, table.ErrRow) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: %v, want %s", c.file, err, c.want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v quotes the file", err)
		}
	}
}

func TestWrongSchemas(t *testing.T) {
	t.Parallel()
	field := func(rest string) string { return `{"fields": [{"name": "a", ` + rest + `}]}` }
	for _, c := range []struct{ schema, want string }{
		{`[]`, "not a JSON object"},
		{`{}`, "0 fields"},
		{`{"fields": [], "foreignKeys": []}`, "foreignKeys"},
		{`{"fields": [], "uniqueKeys": []}`, "uniqueKeys"},
		{field(`"type": "geojson"`), `field "a": type "geojson" is not supported`},
		{field(`"type": "any"`), `"any" is not supported`},
		{field(`"name": "a"`), `type "" is not supported`},
		{field(`"type": "number", "bareNumber": false`), "bareNumber"},
		{field(`"type": "string", "format": "email"`), `format "email"`},
		{field(`"type": "date", "format": "any"`), `format "any"`},
		{field(`"type": "date", "format": "%d %b %Y"`), `supported are %Y`},
		{field(`"type": "date", "format": "%Y-%m-01"`), "outside of %-parts"},
		{field(`"type": "string", "constraints": {"jsonSchema": {}}`), "jsonSchema"},
		{field(`"type": "string", "constraints": {"minimum": "a"}`), "limit"},
		{field(`"type": "integer", "constraints": {"minimum": "x"}`), "limit"},
		{field(`"type": "integer", "constraints": {"enum": [1, "x"]}`), "enum"},
		{field(`"type": "integer", "constraints": {"pattern": "1+"}`), "for strings"},
		{field(`"type": "string", "constraints": {"pattern": "("}`), "pattern"},
		{field(`"type": "string", "trueValues": ["x"]`), "for booleans"},
		{field(`"type": "string", "decimalChar": ","`), "for numbers"},
		{`{"fields": [{"name": "a", "type": "string"}, {"name": "a", "type": "string"}]}`, `two fields are named "a"`},
		{`{"fields": [{"name": "a", "type": "string"}], "primaryKey": ["b"]}`, `primary key "b"`},
		{`{"fields": [{"name": "a", "type": "string"}], "fieldsMatch": "subset"}`, "fieldsMatch"},
		{`{"schema": {"fields": [{"name": "a", "type": "string"}]}, "dialect": {"delimiter": "ab"}}`, "delimiter"},
		{`{"schema": {"fields": [{"name": "a", "type": "string"}]}, "dialect": {"commentChar": "#"}}`, "commentChar"},
		{`{"schema": {"fields": [{"name": "a", "type": "string"}]}, "dialect": {"quoteChar": "'"}}`, "quote character"},
		{`{"schema": {"fields": [{"name": "a", "type": "string"}]}, "data": []}`, `"data"`},
	} {
		if _, err := table.ParseResource([]byte(c.schema)); !errors.Is(err, table.ErrSchema) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.schema, err, c.want)
		}
	}
}

// The digest is of what rows mean, and not of how a file spells it.
func TestDigest(t *testing.T) {
	t.Parallel()
	base := resource(t, people).Schema
	same := strings.NewReplacer(`["", "?"]`, `["NA"]`, `"type": "boolean"`, `"trueValues": ["y"], "falseValues": ["n"], "type": "boolean", "title": "Member"`,
		`"primaryKey": "id"`, `"primaryKey": ["id"]`, "0.5", `"0.50"`).Replace(people)
	if d := base.Differences(resource(t, same).Schema); len(d) != 0 || base.Digest() != resource(t, same).Schema.Digest() {
		t.Errorf("spelled otherwise: %v", d)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"name": "member"`, `"name": "client"`, `column "member" is missing`},
		{`"name": "member"`, `"name": "client"`, `column "client" is not expected`},
		{`"type": "boolean"`, `"type": "integer"`, `column "member" is of type integer, want boolean`},
		{"0.5", "0.6", "a constraint"},
		{`"primaryKey": "id", `, "", "the primary key"},
	} {
		if d := base.Differences(resource(t, strings.Replace(people, c.old, c.new, 1)).Schema); !strings.Contains(strings.Join(d, "; "), c.want) {
			t.Errorf("%s for %s: %v, want %s", c.new, c.old, d, c.want)
		}
	}
	if got := base.Digest().Short(); got != "4cf43eaa8ecb" {
		t.Errorf("the digest of the example is now %s", got)
	}
}

// FuzzParseResource: a description is refused, or names a schema that stays the same.
func FuzzParseResource(f *testing.F) {
	for _, d := range []string{people, visits, loans, transactions, dialect} {
		f.Add([]byte(d))
	}
	f.Fuzz(func(t *testing.T, description []byte) {
		r, err := table.ParseResource(description)
		if err != nil {
			if !errors.Is(err, table.ErrSchema) {
				t.Fatal(err)
			}
			return
		}
		again, err := table.ParseResource(description)
		if err != nil || r.Schema.Digest() != again.Schema.Digest() || len(r.Schema.Differences(again.Schema)) > 0 {
			t.Fatalf("another digest the second time: %v", err)
		}
	})
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte(peopleHeader + "1,Ada,1.7,true,2020-02-29,2021-01-01T10:00:00Z\n"))
	f.Add([]byte("\xEF\xBB\xBF" + peopleHeader[:len(peopleHeader)-1] + "\r2,\"B\"\"o\",?,0,,\r"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := resource(t, people)
		for row, err := range r.ReadCSV("f", strings.NewReader(string(file))) {
			if err != nil {
				if !errors.Is(err, table.ErrRow) {
					t.Fatal(err)
				}
				return
			}
			for i, v := range row.Cells {
				field := &r.Schema.Fields[i]
				if v.Null && field.Constraints.Required || v.Number-v.Number != 0 || strings.ContainsRune(field.Spell(v), '\x00') && field.Type != table.String {
					t.Fatalf("cell %d: %+v", i, v)
				}
			}
		}
	})
}
