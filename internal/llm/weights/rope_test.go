package weights

import (
	"math"
	"testing"
)

// The frequencies are those of the formula in binary64, to its own accuracy.
func TestFrequenciesFollowTheFormula(t *testing.T) {
	t.Parallel()
	for _, dim := range []int{2, 8, 64, 80, 128, 256} {
		for _, base := range []float32{2, 10000, 500000, 1e6} {
			r := RoPE{Dim: dim, Base: base}
			freq, magnitude := r.Frequencies()
			if magnitude != 1 || len(freq) != dim/2 || freq[0] != 1 {
				t.Fatalf("dim %d: %d frequencies, the first %v; magnitude %v", dim, len(freq), freq[0], magnitude)
			}
			for i, f := range freq {
				want := math.Pow(float64(base), -2*float64(i)/float64(dim))
				if math.Abs(f-want) > 1e-14*want {
					t.Errorf("dim %d base %g pair %d: %v, want %v", dim, base, i, f, want)
				}
			}
		}
	}
}

func TestLinearScaling(t *testing.T) {
	t.Parallel()
	plain, _ := (&RoPE{Dim: 64, Base: 10000}).Frequencies()
	scaled, _ := (&RoPE{Dim: 64, Base: 10000, Scaling: Linear, Factor: 4}).Frequencies()
	for i := range plain {
		if scaled[i] != plain[i]/4 { // exact: a power of two
			t.Errorf("pair %d: %v, want %v", i, scaled[i], plain[i]/4)
		}
	}
}

// Qwen2.5's YaRN: base 1e6, 128 elements, factor 4 over 32768. The expectations
// are those of the reference formula in binary64.
func TestYaRN(t *testing.T) {
	t.Parallel()
	const dim, base, factor, original = 128, 1e6, 4.0, 32768
	freq, magnitude := (&RoPE{Dim: dim, Base: base, Scaling: YaRN, Factor: factor, OriginalContext: original}).Frequencies()
	if want := 0.1*math.Log(factor) + 1; math.Abs(magnitude-want) > 1e-15 {
		t.Errorf("magnitude %v, want %v", magnitude, want)
	}
	pair := func(turns float64) float64 {
		return dim * math.Log(original/(turns*2*math.Pi)) / (2 * math.Log(base))
	}
	low, high := math.Floor(pair(32)), math.Ceil(pair(1))
	if low != 23 || high != 40 {
		t.Fatalf("the reference goes over from %v to %v", low, high)
	}
	for i, f := range freq {
		plain := math.Pow(base, -2*float64(i)/dim)
		s := min(max((float64(i)-low)/(high-low), 0), 1)
		if want := plain*(1-s) + plain/factor*s; math.Abs(f-want) > 1e-14*want {
			t.Errorf("pair %d: %v, want %v", i, f, want)
		}
	}
}

// Llama 3.1: factor 8, from 1 to 4 turns over 8192 positions, base 500000.
func TestLlama3Factors(t *testing.T) {
	t.Parallel()
	f := llama3Factors(128, 500000, 8, 1, 4, 8192)
	for i, got := range f {
		wavelength := 2 * math.Pi * math.Pow(500000, float64(i)/64)
		want := 1.0
		switch {
		case wavelength > 8192:
			want = 8
		case wavelength >= 8192.0/4:
			s := (8192/wavelength - 1) / 3
			want = 1 / ((1-s)/8 + s)
		}
		if math.Abs(float64(got)-want) > 1e-6*want {
			t.Errorf("pair %d: %v, want %v", i, got, want)
		}
	}
}
