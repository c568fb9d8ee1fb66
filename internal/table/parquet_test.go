package table_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"atoll/internal/table"
)

type person struct {
	Since  *int32    `parquet:"since,optional,date"` // another order than the schema's
	ID     int64     `parquet:"id"`
	Name   string    `parquet:"name"`
	Height *float32  `parquet:"height,optional"`
	Member *bool     `parquet:"member,optional"`
	Seen   time.Time `parquet:"seen,timestamp(microsecond)"`
}

var persons = []person{
	{new(int32(18321)), 7, "Ada", new(float32(1.75)), new(true), time.Date(2021, 1, 1, 10, 0, 0, 5000, time.UTC)},
	{nil, 8, "Bo", nil, new(false), time.Date(1969, 12, 31, 23, 59, 59, 999_000_000, time.UTC)},
}

func parquetFile[T any](t testing.TB, rows []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParquet(t *testing.T) {
	t.Parallel()
	const want = "1: 7|Ada|1.75|true|2020-02-29|2021-01-01T10:00:00Z\n2: 8|Bo||false||1969-12-31T23:59:59Z"
	r := resource(t, people)
	for name, option := range map[string]parquet.WriterOption{
		"plain": parquet.Compression(&parquet.Uncompressed), "snappy": parquet.Compression(&parquet.Snappy), "zstd": parquet.Compression(&parquet.Zstd),
		"gzip": parquet.Compression(&parquet.Gzip), "row groups of one": parquet.MaxRowsPerRowGroup(1),
	} {
		b := parquetFile(t, persons, option)
		if got, err := spell(r.Schema, r.ReadParquet("f", bytes.NewReader(b), int64(len(b)))); err != nil || got != want {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
	many := make([]person, 1000)
	for i := range many {
		many[i] = persons[0]
		many[i].ID = int64(i)
	}
	b := parquetFile(t, many, parquet.MaxRowsPerRowGroup(300))
	n := 0
	for row, err := range r.ReadParquet("f", bytes.NewReader(b), int64(len(b))) {
		if err != nil || row.Number != n+1 || row.Cells[0].Number != float64(n) {
			t.Fatalf("row %d: %+v, %v", n, row, err)
		}
		n++
	}
	if n != 1000 {
		t.Errorf("%d rows", n)
	}
}

// A file of other software: pyarrow 26.0.1, zstd, pages of version 2, names by dictionary,
// datetimes in nanoseconds.
func TestParquetOfPyArrow(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/pyarrow.parquet")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r := resource(t, people)
	const want = "1: 1|Ada|1.5|true|2020-02-29|2021-01-01T10:00:00Z\n2: 2|Bo||false||1969-12-31T23:59:59Z\n3: 3|Ada|2.25||2001-01-01|"
	if got, err := spell(r.Schema, r.ReadParquet("f", file, info.Size())); err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestWrongParquet(t *testing.T) {
	t.Parallel()
	const schema = `{"fields": [{"name": "n", "type": "TYPE", "constraints": {"required": true}}]}`
	type extra struct {
		N int64 `parquet:"n"`
		M int64 `parquet:"m"`
	}
	type list struct {
		N []int64 `parquet:"n"`
	}
	type decimal struct {
		N int64 `parquet:"n,decimal(2:10)"`
	}
	type nullable struct {
		N *float64 `parquet:"n,optional"`
	}
	type text struct {
		N string `parquet:"n"`
	}
	type unsigned struct {
		N uint64 `parquet:"n"`
	}
	good := parquetFile(t, []text{{"a"}})
	nan := 0.0
	nan /= nan
	for _, c := range []struct {
		kind string
		file []byte
		want string
	}{
		{"integer", nil, "not a Parquet file"},
		{"string", good[:len(good)-9], "not a Parquet file"},
		{"string", append(good[:len(good)-8:len(good)-8], "\xff\xff\xff\xffPAR1"...), "its last bytes want a footer of 4294967295 bytes"},
		{"integer", parquetFile(t, []extra{{1, 2}}), `column "m" is not in the schema`},
		{"integer", parquetFile(t, []list{{[]int64{1}}}), `column "n" is a list`},
		{"number", parquetFile(t, []decimal{{1}}), "is no number"},
		{"integer", good, "is no integer"},
		{"date", parquetFile(t, []unsigned{{1}}), "is no date"},
		{"integer", parquetFile(t, []unsigned{{1 << 63}}), `row 1, column "n": want an integer within`},
		{"number", parquetFile(t, []nullable{{new(1.0)}, {nil}}), `row 2, column "n": nothing is given`},
		{"number", parquetFile(t, []nullable{{&nan}}), `row 1, column "n": NaN and infinities`},
		{"integer", parquetFile(t, []nullable{{new(1.5)}}), `row 1, column "n": want an integer`},
		{"string", parquetFile(t, []text{{"\xff"}}), `row 1, column "n": it is not UTF-8`},
	} {
		r := resource(t, strings.Replace(schema, "TYPE", c.kind, 1))
		_, err := spell(r.Schema, r.ReadParquet("f", bytes.NewReader(c.file), int64(len(c.file))))
		if !errors.Is(err, table.ErrRow) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.kind, err, c.want)
		}
	}
	r := resource(t, `{"fields": [{"name": "n", "type": "string"}, {"name": "m", "type": "string"}]}`)
	if _, err := spell(r.Schema, r.ReadParquet("f", bytes.NewReader(good), int64(len(good)))); err == nil || !strings.Contains(err.Error(), `column "m" of the schema is not in the file`) {
		t.Errorf("a missing column: %v", err)
	}
}

// A damaged file is an error, and never a crash. It is no fuzz target: the library makes as
// much room as a page's header asks for, and the file is the owner's own.
func TestDamagedParquet(t *testing.T) {
	t.Parallel()
	r := resource(t, people)
	read := func(file []byte) (err error) {
		for _, err = range r.ReadParquet("f", bytes.NewReader(file), int64(len(file))) {
			if err != nil && !errors.Is(err, table.ErrRow) {
				t.Fatal(err)
			}
		}
		return err
	}
	for _, whole := range [][]byte{parquetFile(t, persons), parquetFile(t, persons, parquet.Compression(&parquet.Snappy))} {
		refused := 0
		for at := range whole {
			if err := read(whole[:at]); err == nil {
				t.Errorf("%d of %d bytes are taken for the whole", at, len(whole))
			}
			changed := bytes.Clone(whole)
			changed[at] ^= 1
			if read(changed) != nil {
				refused++
			}
		}
		if refused < len(whole)/4 {
			t.Errorf("%d of %d changed bytes are noticed", refused, len(whole))
		}
	}
}
