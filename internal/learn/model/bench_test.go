package model

import (
	"fmt"
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
		b.Run(fmt.Sprint("batch", batch), func(b *testing.B) {
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

// BenchmarkPrivate is what DP-SGD costs beside plain steps over as many rows: the same
// network, 256 of 4,096 rows a step, which are all different customers or sixteen rows
// each.
func BenchmarkPrivate(b *testing.B) {
	s := Spec{Kind: MLP, Inputs: 784, Hidden: []int{128}, Classes: classes(10)}
	rows := blobs(1, 4096, 784, 10)
	for i := range rows.Len() {
		rows.Units = append(rows.Units, uint64(i/16))
	}
	params, pool := s.Start(1), newPool(b, 1, fastest())
	noise := chance(b, s, 1, 1)
	for name, c := range map[string]Config{
		"plain":     {Epochs: 1, Batch: 256, Rate: 0.01},
		"rows":      {Rate: 0.01, Private: &Private{Steps: 16, Sample: 1.0 / 16, Clip: 1, Noise: 1, Chance: noise}},
		"customers": {Rate: 0.01, Private: &Private{Steps: 16, Sample: 1.0 / 16, Clip: 1, Noise: 1, Customers: true, Chance: noise}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Train(b.Context(), s, params, rows, c, pool); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(16*b.N), "µs/step")
		})
	}
}
