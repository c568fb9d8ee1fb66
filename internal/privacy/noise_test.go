package privacy

import (
	"bytes"
	"math"
	"math/big"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"atoll/internal/core"
	"atoll/internal/keystream"
)

func stream(t testing.TB, n byte) *keystream.Stream {
	t.Helper()
	s, err := keystream.Secret(bytes.NewReader(bytes.Repeat([]byte{n}, keystream.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var laws = []law{
	poisson{0.003}, poisson{0.5}, poisson{1}, poisson{3.7}, poisson{20}, poisson{255.9}, poisson{256}, poisson{1e4 + 0.25}, poisson{1 << 30}, poisson{1 << 49},
	discreteGaussian{1e-3}, discreteGaussian{0.25}, discreteGaussian{1}, discreteGaussian{30}, discreteGaussian{1e6}, discreteGaussian{1 << 50},
}

// points are integers from the mode out to where ratios are e^−60.
func points(l law) (list []int64) {
	step := max(1, int64(l.deviation()/3))
	for k := l.mode() - 11*step*3; k <= l.mode()+11*step*3; k += step {
		if k >= l.lowest() && l.logRatio(k) > -60 {
			list = append(list, k)
		}
	}
	return list
}

// logRatio is within a tenth of its slack of the big numbers, which follow the
// definition.
func TestRatios(t *testing.T) {
	t.Parallel()
	for _, l := range laws {
		if l.deviation() > 1e5 { // millions of factors
			continue
		}
		for _, k := range points(l) {
			exact, _ := l.ratio(k, 200).Float64()
			if off := math.Abs(math.Exp(l.logRatio(k))/exact - 1); !(off < slack/10) {
				t.Errorf("%T%v at %d: ratio %g, off by %g", l, l, k, exact, off)
			}
		}
	}
}

// The same far out with a large mean, in both directions.
func TestRatioOfLargeMean(t *testing.T) {
	t.Parallel()
	p := poisson{1<<40 + 0.5}
	for _, k := range []int64{p.mode() - 3<<20, p.mode() + 3<<20} {
		exact, _ := p.ratio(k, 200).Float64()
		if off := math.Abs(math.Exp(p.logRatio(k))/exact - 1); !(off < slack/10) {
			t.Errorf("at %d: ratio %g, off by %g", k, exact, off)
		}
	}
}

func TestExp(t *testing.T) {
	t.Parallel()
	// e^−1 and e^−10 to 60 digits
	for x, want := range map[float64]string{
		-1:  "0.367879441171442321595523770161460867445811131031767834507837",
		-10: "0.0000453999297624848515355915155605506102379180888665649692590713",
		0:   "1",
	} {
		w, _, err := big.ParseFloat(want, 10, 250, big.ToNearestEven)
		if err != nil {
			t.Fatal(err)
		}
		off := new(big.Float).Quo(new(big.Float).Sub(exp(number(x, 250), 250), w), w)
		if off.Sign() != 0 && off.MantExp(nil) > -190 {
			t.Errorf("e^%g is off by %v", x, off)
		}
	}
}

// A staircase lies above its law everywhere, its areas add up, what is sure is
// certain, and the table of aliases gives each cell its area.
func TestStaircase(t *testing.T) {
	t.Parallel()
	for _, l := range laws {
		d := newStaircase(l, tableReach)
		if len(d.columns) > 1024 || d.columnBits+areaBits+d.shift > 64 {
			t.Fatalf("%T%v: %d columns, cells of 2^%d: one word does not suffice", l, l, len(d.columns), d.shift)
		}
		weights := make([]uint64, len(d.cells))
		for i, c := range d.columns {
			if c.keep > 0 {
				weights[i] += c.keep
			}
			weights[c.other] += 1<<areaBits - c.keep
		}
		total, next := uint64(0), d.cells[0].first
		for i, c := range d.cells {
			total += c.area()
			if weights[i] != c.area()<<d.columnBits {
				t.Errorf("%T%v: cell %d of area %d has a weight of %d", l, l, i, c.area(), weights[i])
			}
			if c.tail < 0 {
				next = c.first + 1
			} else if c.first != next {
				t.Errorf("%T%v: cell %d begins at %d, not %d", l, l, i, c.first, next)
			} else {
				next = c.first + 1<<d.shift
			}
			for _, off := range []int64{0, 1, 1<<d.shift/2 - 1, 1<<d.shift - 1} {
				if off < 0 || off >= 1<<d.shift {
					continue
				}
				k := c.first + off
				if c.tail < 0 {
					k = c.first - off
				}
				x := math.Exp(l.logRatio(k)) * d.scale / float64(c.height)
				if x > 1 || float64(c.sure)*0x1p-64 > x {
					t.Errorf("%T%v at %d: %g of the cell's height, sure below %g", l, l, k, x, float64(c.sure)*0x1p-64)
				}
			}
		}
		if total != 1<<areaBits {
			t.Errorf("%T%v: areas of %d", l, l, total)
		}
	}
}

// Chi-square of what is drawn, over up to 60 bins of about equal weight, and the
// moments; the stream is fixed, so the outcome is too.
func TestDistributions(t *testing.T) {
	t.Parallel()
	const draws = 200_000
	for i, l := range append(laws, poisson{0.5}, poisson{2.5}, discreteGaussian{0.25}, discreteGaussian{2}) {
		reach := float64(tableReach)
		if i >= len(laws) {
			reach = 0 // so that much is drawn from the tails
		}
		d, s := newStaircase(l, reach), stream(t, 3)
		counts := map[int64]int{}
		mean, square := 0.0, 0.0
		for range draws {
			k := d.draw(s)
			counts[k]++
			x := float64(k - l.mode())
			mean += x / draws
			square += x * x / draws
		}
		if p := fit(l, counts, draws); p < 1e-4 {
			t.Errorf("%T%v: p = %g", l, l, p)
		}
		wantMean, wantSquare := moments(l)
		if off := math.Abs(mean-wantMean) / math.Sqrt(wantSquare/draws); off > 4.5 {
			t.Errorf("%T%v: mean %g, want %g", l, l, mean, wantMean)
		}
		if l.deviation() > 2 && math.Abs(square/wantSquare-1) > 0.02 {
			t.Errorf("%T%v: second moment %g, want %g", l, l, square, wantSquare)
		}
	}
}

// moments are the first two around the mode.
func moments(l law) (mean, square float64) {
	if p, ok := l.(poisson); ok {
		off := p.mean - float64(p.mode())
		return off, p.mean + off*off
	}
	g := l.(discreteGaussian)
	if g.variance > 100 {
		return 0, g.variance
	}
	total := 1.0
	for k := int64(1); k < 200; k++ {
		p := 2 * math.Exp(g.logRatio(k))
		total += p
		square += p * float64(k*k)
	}
	return 0, square / total
}

// fit returns the p-value of a chi-square test against the law. Bins of many integers
// have their probability by the trapezium rule, which is good to 1e-6 there.
func fit(l law, counts map[int64]int, draws int) float64 {
	width := max(1, int64(l.deviation()/6))
	probability := func(k int64) float64 { // of [k, k+width), not normalised
		sum, steps := 0.0, min(width, 64)
		for i := range steps {
			sum += math.Exp(l.logRatio(k+int64((float64(i)+0.5)*float64(width)/float64(steps)))) * float64(width) / float64(steps)
		}
		return sum
	}
	first := max(l.mode()-60*width, l.lowest())
	var expected []float64
	total := 0.0
	for i := range int64(121) {
		p := probability(first + i*width)
		expected = append(expected, p)
		total += p
	}
	seen := make([]float64, len(expected))
	for k, n := range counts {
		seen[min(max((k-first)/width, 0), int64(len(seen)-1))] += float64(n)
	}
	square, degrees, e, o := 0.0, -1.0, 0.0, 0.0
	for i := range expected { // bins are joined until they expect 20
		e += expected[i] / total * float64(draws)
		o += seen[i]
		if e >= 20 {
			square += (o - e) * (o - e) / e
			degrees++
			e, o = 0, 0
		}
	}
	square += (o - e) * (o - e) / max(e, 20)
	if degrees < 1 {
		return 1
	}
	return distuv.ChiSquared{K: degrees}.Survival(square)
}

// Where floating point cannot tell, big numbers do: forced on every draw, in the table
// and in the tails, they give the same values, however close V is.
func TestDecide(t *testing.T) {
	t.Parallel()
	for _, l := range []law{poisson{3.7}, poisson{1000}, discreteGaussian{30}} {
		d, s := newStaircase(l, 0), stream(t, 4)
		for n := range 2000 {
			c, halvings := d.cells[s.Below(uint64(len(d.cells)))], 0
			k := c.first + int64(s.Below(1<<d.shift))
			if c.tail != 0 {
				halvings = n % 3
				k = c.first + c.tail*int64(halvings)<<d.shift
			}
			x := math.Ldexp(math.Exp(l.logRatio(k))*d.scale/float64(c.height), halvings)
			if x < 0x1p-30 { // 64 bits may not decide
				continue
			}
			v := s.Uint64()
			if n%2 == 0 { // a part in 10^9 to either side
				v = uint64(math.Ldexp(min(x*(1+1e-9*float64(n%4-1)), 0.9999), 64))
			}
			if fast, slow := d.keeps(s, v, k, c.height, halvings), d.decide(s, v, k, c.height, halvings); fast != slow {
				t.Fatalf("%T%v at %d, V = %#x: %v in floating point, %v with big numbers", l, l, k, v, fast, slow)
			}
		}
	}
}

// V that agrees with the ratio in its first 64 bits gets more of them.
func TestDecideNeedsMoreBits(t *testing.T) {
	t.Parallel()
	l := discreteGaussian{30}
	d := newStaircase(l, tableReach)
	c := d.cells[len(d.cells)/2+5]
	x := new(big.Float).Quo(new(big.Float).Mul(l.ratio(c.first, 300), big.NewFloat(d.scale)), new(big.Float).SetUint64(c.height))
	units, _ := new(big.Float).SetMantExp(x, 64).Int(nil)
	kept := 0
	for i := range 200 {
		if d.decide(keystream.Public(keystream.Seed{byte(i)}, "test"), units.Uint64(), c.first, c.height, 0) {
			kept++
		}
	}
	if kept == 0 || kept == 200 {
		t.Errorf("%d of 200 kept, though the bits that follow decide", kept)
	}
}

// Noise of a sum of clients has the variance of all of them.
func TestSkellamAddsUp(t *testing.T) {
	t.Parallel()
	const clients, words, each = 7, 50_000, 40.0
	n, err := NewSkellam(each)
	if err != nil {
		t.Fatal(err)
	}
	sum := make([]uint32, words)
	for i := range byte(clients) {
		n.AddTo(sum, stream(t, i))
	}
	mean, square := 0.0, 0.0
	for _, w := range sum {
		mean += float64(int32(w)) / words
		square += float64(int32(w)) * float64(int32(w)) / words
	}
	if math.Abs(mean) > 0.4 || math.Abs(square/(clients*each)-1) > 0.03 {
		t.Errorf("mean %g, variance %g, want 0 and %g", mean, square, clients*each)
	}
}

func TestCentral(t *testing.T) {
	t.Parallel()
	const dim = 10_000
	c, err := NewCentral(dim, 2, 1.5, stream(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	sum := make([]float32, dim)
	for i := range sum {
		sum[i] = 7
	}
	sum[5], sum[6], sum[7] = float32(math.NaN()), float32(math.Inf(1)), 1e30
	c.Noise(sum, 3)
	square := 0.0
	for i, v := range sum {
		if i >= 5 && i <= 7 {
			if v == v {
				t.Errorf("value %d became %g", i, v)
			}
			continue
		}
		off := float64(v) - 7
		square += off * off / dim
		steps := float64(v) / c.step // float32 has 24 bits
		if off := math.Abs(steps - math.Round(steps)); off > 1e-7*math.Abs(steps) {
			t.Fatalf("value %d is not on the grid: %g steps", i, steps)
		}
	}
	if deviation := math.Sqrt(square); deviation < 2.95 || deviation > 3.1 {
		t.Errorf("standard deviation %g, want 3 and a hundredth", deviation)
	}
	for _, bad := range []func(){func() { c.Noise(sum[1:], 3) }, func() { c.Noise(sum, 1) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("noise for something else was given")
				}
			}()
			bad()
		}()
	}
}

func TestNoiseRefusals(t *testing.T) {
	t.Parallel()
	for _, v := range []float64{0, -1, math.NaN(), math.Inf(1), 1e16} {
		if _, err := NewSkellam(v); core.KindOf(err) != core.Invalid {
			t.Errorf("%g: %v", v, err)
		}
		if _, err := NewDiscreteGaussian(v); core.KindOf(err) != core.Invalid {
			t.Errorf("%g: %v", v, err)
		}
	}
	if _, err := NewCentral(0, 1, 1, stream(t, 1)); core.KindOf(err) != core.Invalid {
		t.Error(err)
	}
}

func BenchmarkNoise(b *testing.B) {
	for name, make := range map[string]func(float64) (*Noise, error){"skellam": NewSkellam, "gaussian": NewDiscreteGaussian} {
		for _, variance := range []float64{10, 1e4, 1e9} {
			n, err := make(variance)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(name+"/variance="+big.NewFloat(variance).Text('g', 3), func(b *testing.B) {
				s := stream(b, 1)
				words := [1000]uint32{}
				for b.Loop() {
					n.AddTo(words[:], s)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/value")
			})
		}
	}
}
