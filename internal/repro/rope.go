package repro

import "fmt"

// RopeStyle says which elements of a head turn together.
type RopeStyle uint8

const (
	// Halves turns element i with i + d/2 (GPT-NeoX, and Llama in safetensors).
	Halves RopeStyle = iota
	// Pairs turns element 2i with 2i + 1 (the original Llama, and Llama in GGUF).
	Pairs
)

// Rope is rotary position embedding: pair i of a head is turned by the angle
// position·frequency[i].
type Rope struct {
	freq  []float64
	style RopeStyle
}

// RopeFrequencies returns the frequencies for dims turning elements of a head:
// base^(−2i/dims), computed in binary64 as e^RN(−RN(2i/dims)·log base).
func RopeFrequencies(dims int, base float64) ([]float64, error) {
	if dims < 2 || dims%2 != 0 || dims > 1<<16 || !(base >= 1 && base <= 1e30) {
		return nil, fmt.Errorf("rope: %d dimensions with base %g: want an even number and a base from 1 to 1e30", dims, base)
	}
	freq := make([]float64, dims/2)
	l := log64(base)
	for i := range freq {
		freq[i] = exp64(-float64(float64(float64(2*i)/float64(dims)) * l))
	}
	return freq, nil
}

// NewRope returns the rotation with the given frequencies, one for each pair: those
// of [RopeFrequencies], or these after a model's own scaling. They must lie in
// [0, 1].
func NewRope(freq []float64, style RopeStyle) (*Rope, error) {
	if len(freq) == 0 || style > Pairs {
		return nil, fmt.Errorf("rope: %d frequencies in style %d: want at least one, in a known style", len(freq), style)
	}
	for i, f := range freq {
		if !(f >= 0 && f <= 1) {
			return nil, fmt.Errorf("rope: frequency %d is %g: want 0 to 1", i, f)
		}
	}
	return &Rope{freq: append([]float64(nil), freq...), style: style}, nil
}

// Dims returns how many elements of each head turn.
func (r *Rope) Dims() int { return 2 * len(r.freq) }

// Angles writes cosine and sine for each pair at position pos to dst, which has
// Dims elements: RN of cos and sin of the binary64 product pos·frequency. They
// serve all heads and layers. pos must be from 0 to MaxAngle.
func (r *Rope) Angles(dst []float32, pos int) error {
	if pos < 0 || pos > MaxAngle || len(dst) != r.Dims() {
		return fmt.Errorf("rope: position %d into %d values: want 0 to %d and %d values", pos, len(dst), MaxAngle, r.Dims())
	}
	for i, f := range r.freq {
		s, c, err := SinCos(float64(float64(pos) * f))
		if err != nil {
			return err
		}
		dst[2*i], dst[2*i+1] = float32(c), float32(s)
	}
	return nil
}

// Rotate turns each head of x, of headDim elements, by the angles of one
// position: (a, b) becomes (RN(RN(a·cos) − RN(b·sin)), RN(RN(a·sin) + RN(b·cos))).
// Elements of a head from Dims on stay. It panics if the sizes do not fit.
func (r *Rope) Rotate(x []float32, headDim int, angles []float32) {
	if headDim < r.Dims() || len(x)%headDim != 0 || len(angles) != r.Dims() {
		panic(fmt.Sprintf("repro: rope of %d dimensions on heads of %d in %d values with %d angles", r.Dims(), headDim, len(x), len(angles)))
	}
	half := len(r.freq)
	for ; len(x) > 0; x = x[headDim:] {
		if r.style == Pairs {
			for i := 0; i < 2*half; i += 2 {
				x[i], x[i+1] = turn(x[i], x[i+1], angles[i], angles[i+1])
			}
			continue
		}
		lo, hi := x[:half], x[half:2*half]
		for i := range lo {
			lo[i], hi[i] = turn(lo[i], hi[i], angles[2*i], angles[2*i+1])
		}
	}
}

func turn(a, b, cos, sin float32) (float32, float32) {
	return float32(float32(a*cos) - float32(b*sin)), float32(float32(a*sin) + float32(b*cos))
}
