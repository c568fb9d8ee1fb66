package model

import (
	"testing"

	"atoll/internal/repro"
)

// BenchmarkTrain is an epoch over 4,096 rows of a network of 101,770 parameters, the
// shape that is usual for MNIST. Six operations a weight and row: forward, slopes,
// gradient; the first layer needs no slopes.
func BenchmarkTrain(b *testing.B) {
	s := Spec{Kind: MLP, Inputs: 784, Hidden: []int{128}, Classes: classes(10)}
	rows := blobs(1, 4096, 784, 10)
	params := s.Start(1)
	for _, batch := range []int{16, 32, 64} {
		b.Run(map[int]string{16: "batch16", 32: "batch32", 64: "batch64"}[batch], func(b *testing.B) {
			for _, isa := range repro.Available() {
				b.Run(isa.String(), func(b *testing.B) {
					pool := newPool(b, 1, isa)
					for b.Loop() {
						if _, err := Train(b.Context(), s, params, rows, Config{Epochs: 1, Batch: batch, Rate: 0.01}, pool); err != nil {
							b.Fatal(err)
						}
					}
					perRow := 4*784*128 + 6*128*10
					b.ReportMetric(float64(perRow*rows.Len())*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
					b.ReportMetric(float64(rows.Len()*b.N)/b.Elapsed().Seconds(), "rows/s")
				})
			}
		})
	}
}
