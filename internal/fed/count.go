package fed

import (
	"math/bits"

	"atoll/internal/core"
)

// Numbers that are summed exactly: 32 bits each, a byte to a word, so that each word has
// head room for the sum.
const (
	counts     = 6 // the fields of Counts
	countBits  = 8
	countWords = 32 / countBits
)

// Counts are what a sum tells of the sites besides the update.
type Counts struct {
	Rows  int64 `json:"rows"`  // that a site counts for, see Weights
	Held  int64 `json:"held"`  // rows held out
	Right int64 `json:"right"` // of these answered rightly
	Loss  int64 `json:"loss"`  // of these, in thousandths of a nat, added up
	// The same of the model that the run began with, in the round that compares.
	RightBefore int64 `json:"right_before,omitzero"`
	LossBefore  int64 `json:"loss_before,omitzero"`
}

func (c *Counts) append(words []uint32) []uint32 {
	for _, n := range []int64{c.Rows, c.Held, c.Right, c.Loss, c.RightBefore, c.LossBefore} {
		n = min(max(n, 0), 1<<32-1)
		for range countWords {
			words = append(words, uint32(n&(1<<countBits-1)))
			n >>= countBits
		}
	}
	return words
}

func (c *Counts) add(d Counts) {
	c.Rows, c.Held, c.Right, c.Loss = c.Rows+d.Rows, c.Held+d.Held, c.Right+d.Right, c.Loss+d.Loss
	c.RightBefore, c.LossBefore = c.RightBefore+d.RightBefore, c.LossBefore+d.LossBefore
}

// countsOf reads the sums of words, modulo 2^m.
func countsOf(words []uint32) Counts {
	number := func(i int) (n int64) {
		for j := countWords - 1; j >= 0; j-- {
			n = n<<countBits + int64(words[i*countWords+j])
		}
		return n
	}
	return Counts{Rows: number(0), Held: number(1), Right: number(2), Loss: number(3), RightBefore: number(4), LossBefore: number(5)}
}

// appendBytes writes them as they follow an update without masks.
func (c *Counts) appendBytes(b []byte) []byte {
	for _, w := range c.append(nil) {
		b = append(b, byte(w))
	}
	return b
}

// cutCounts reads what appendBytes has written, and returns what comes before.
func cutCounts(b []byte) (c Counts, update []byte, err error) {
	n := len(b) - counts*countWords
	if n < 0 {
		return c, nil, core.Errorf(core.Invalid, "an update of %d bytes", len(b))
	}
	words := make([]uint32, 0, counts*countWords)
	for _, x := range b[n:] {
		words = append(words, uint32(x))
	}
	return countsOf(words), b[:n], nil
}

// bitsFor is how many bits the sum of so many numbers needs more than one of them.
func bitsFor(n int) int { return bits.Len(uint(n - 1)) }
