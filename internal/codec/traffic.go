package codec

import "fmt"

// Traffic is what one client's update takes in one round, in bytes, without the
// keys, shares and envelopes of secure aggregation.
type Traffic struct {
	Masked int64 `json:"masked"` // words with head room for the sum, packed
	Clear  int64 `json:"clear"`  // the same values in Bits each, as one would send them unmasked
	Float  int64 `json:"float"`  // the update in float32
}

// Traffic returns the bytes of an update with words so wide.
func (g *Grid) Traffic(m Modulus) Traffic {
	return Traffic{
		Masked: packed(g.kept, int(m)),
		Clear:  packed(g.kept, g.shape.Bits),
		Float:  4 * int64(g.shape.Dim),
	}
}

func packed(values, bits int) int64 { return (int64(values)*int64(bits) + 7) / 8 }

// String is a line for people.
func (t Traffic) String() string {
	return fmt.Sprintf("%d B a client (%.2f of float32, %.2f of unmasked)", t.Masked,
		float64(t.Masked)/float64(t.Float), float64(t.Masked)/float64(t.Clear))
}
