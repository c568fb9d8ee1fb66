package table_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"atoll/internal/table"
)

type transaction struct {
	ID     int64   `parquet:"id"`
	Card   string  `parquet:"card"`
	Amount float64 `parquet:"amount"`
	Fraud  bool    `parquet:"fraud"`
}

const transactions = `{"fields": [{"name": "id", "type": "integer"}, {"name": "card", "type": "string"}, {"name": "amount", "type": "number", "constraints": {"minimum": 0}}, {"name": "fraud", "type": "boolean"}], KEY"missingValues": [""]}`

// BenchmarkRead reads 50,000 rows and makes examples of them, with and without a
// primary key to be checked.
func BenchmarkRead(b *testing.B) {
	var rows []transaction
	var file strings.Builder
	file.WriteString("id,card,amount,fraud\n")
	for i := range 50_000 {
		r := transaction{int64(i), fmt.Sprint("card-", i*7919%5000), float64(i%9999) / 100, i%97 == 0}
		rows = append(rows, r)
		fmt.Fprintf(&file, "%d,%s,%g,%t\n", r.ID, r.Card, r.Amount, r.Fraud)
	}
	columns := parquetFile(b, rows, parquet.Compression(&parquet.Snappy))
	f := table.Features{
		Inputs: []table.Input{{Column: "amount", As: table.AsNumber}},
		Label:  table.Label{Column: "fraud", Classes: []string{"false", "true"}}, Unit: "card",
	}
	for name, key := range map[string]string{"key": `"primaryKey": "id", `, "no-key": ""} {
		res := resource(b, strings.Replace(transactions, "KEY", key, 1))
		b.Run("csv/"+name, func(b *testing.B) {
			b.SetBytes(int64(file.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Examples(res.Schema, res.ReadCSV("f", strings.NewReader(file.String())), nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(50_000*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
		b.Run("parquet/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(columns)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Examples(res.Schema, res.ReadParquet("f", bytes.NewReader(columns), int64(len(columns))), nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(50_000*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
