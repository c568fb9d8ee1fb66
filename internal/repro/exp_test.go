package repro

import "testing"

// BenchmarkExponentials is the sum of exponentials in softmax, which the package
// does not export by itself.
func BenchmarkExponentials(b *testing.B) {
	const n = 4096
	x := make([]float32, n)
	for _, isa := range Available() {
		b.Run(isa.String(), func(b *testing.B) {
			for b.Loop() {
				for i := range x {
					x[i] = float32(i&1023) / -64
				}
				var l laneSum
				expSum(isa, &l, x, 0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
		})
	}
}
