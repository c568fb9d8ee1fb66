package codec

import (
	"math"

	"atoll/internal/core"
)

// Modulus is the number of bits of a word: sums are taken modulo 2^Modulus.
type Modulus int

// Words is how wide a sum's words are, and how sure it is that they suffice.
type Words struct {
	Modulus Modulus `json:"modulus"`
	Wrap    float64 `json:"wrap"` // bound on the chance that any coordinate of a sum wraps around
}

// Words returns the narrowest words for sums over so many clients, with Skellam
// noise of that variance in the sum if nobody drops out (0 for none), that wrap
// around with a chance of at most wrap.
func (g *Grid) Words(clients int, variance, wrap float64) (Words, error) {
	switch {
	case clients < 1 || clients > 1<<24:
		return Words{}, core.Errorf(core.Invalid, "a sum is over 1 to %d clients, not %d", 1<<24, clients).At("clients")
	case !(variance >= 0) || math.IsInf(variance, 1):
		return Words{}, core.Errorf(core.Invalid, "the noise's variance is %g", variance)
	case !(wrap > 0 && wrap < 1):
		return Words{}, core.Errorf(core.Invalid, "the chance to wrap around must be over 0 and under 1, not %g", wrap)
	}
	for w := Modulus(MinBits); w <= 32; w++ {
		room := float64(int64(1)<<(w-1)-1) - float64(clients)*float64(g.Level())
		if room < 0 {
			continue
		}
		if p := math.Min(1, 2*float64(g.kept)*skellamTail(room, variance)); p <= wrap {
			return Words{Modulus: w, Wrap: p}, nil
		}
	}
	return Words{}, core.Errorf(core.Invalid, "sums of %d clients with %d bits and noise of standard deviation %.3g do not fit into 32 bits",
		clients, g.shape.Bits, math.Sqrt(variance)).At("bits").WithHint("use fewer bits for a value, or less noise")
}

// skellamTail bounds the chance that Skellam noise of that variance exceeds t ≥ 0
// (Chernoff, at the best point).
func skellamTail(t, variance float64) float64 {
	if variance == 0 {
		return 0
	}
	// √(t² + v²) − v, without cancellation
	gap := t * t / (math.Hypot(t, variance) + variance)
	return math.Exp(gap - t*math.Asinh(t/variance))
}

// Reduce takes words modulo 2^m, in place.
func (m Modulus) Reduce(words []uint32) {
	mask := m.mask()
	for i := range words {
		words[i] &= mask
	}
}

// Centre is the integer of least size that a reduced word stands for.
func (m Modulus) Centre(word uint32) int32 {
	shift := 32 - m
	return int32(word<<shift) >> shift
}

// Check refuses a sum of another length, or with a word that is not reduced.
func (m Modulus) Check(sum []uint32, length int) error {
	if m < 1 || m > 32 {
		return core.Errorf(core.Invalid, "words have 1 to 32 bits, not %d", m)
	}
	if len(sum) != length {
		return core.Errorf(core.Invalid, "the sum has %d words instead of %d", len(sum), length)
	}
	for i, w := range sum {
		if w&^m.mask() != 0 {
			return core.Errorf(core.Invalid, "word %d of the sum is %#x, which has more than %d bits", i, w, m)
		}
	}
	return nil
}

func (m Modulus) mask() uint32 { return uint32(1<<uint(m) - 1) }
