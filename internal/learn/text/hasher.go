package text

import "fmt"

// Hasher reads texts into the same features as a [Model] does, for whoever trains
// other models on them. Every bucket counts. Use one at a time.
type Hasher struct {
	rows []int32 // bucket -> row: each its own
	s    scratch
}

// NewHasher returns a hasher into 2^bits buckets, of which bits must be from MinBits
// to MaxBits.
func NewHasher(bits int) *Hasher {
	if bits < MinBits || bits > MaxBits {
		panic(fmt.Sprintf("text: hasher of %d bits", bits))
	}
	h := &Hasher{rows: make([]int32, 1<<bits)}
	for i := range h.rows {
		h.rows[i] = int32(i)
	}
	h.s.slot = make([]int32, len(h.rows))
	return h
}

// Append adds the text's vector, which has length 1 or is empty: its buckets, in the
// order of their first occurrence, and their values. It refuses texts over MaxText.
func (h *Hasher) Append(buckets []uint32, values []float32, text string) ([]uint32, []float32, error) {
	if len(text) > MaxText {
		return nil, nil, fmt.Errorf("text: %d bytes, over the limit of %d", len(text), MaxText)
	}
	if err := h.s.vector(text, h.rows); err != nil {
		return nil, nil, err
	}
	for _, e := range h.s.ents {
		buckets, values = append(buckets, uint32(e.row)), append(values, e.value)
	}
	return buckets, values, nil
}
