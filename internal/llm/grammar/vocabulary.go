package grammar

import (
	"bytes"
	"cmp"
	"slices"
)

// Vocabulary is a model's tokens as bytes, prepared for masks. It is immutable.
type Vocabulary struct {
	pieces [][]byte // by id
	stop   []int32  // that end an answer, ascending
	// sorted are the ids of all tokens that write something, in the order of what
	// they write, so that what two neighbours begin with is looked at once.
	sorted []int32
	shared []int // how many bytes each has in common with the one before
}

// NewVocabulary prepares tokens: pieces[i] is what token i writes, nil if it must
// never come; stops are the tokens that end an answer, ascending.
func NewVocabulary(pieces [][]byte, stops []int32) *Vocabulary {
	v := &Vocabulary{pieces: pieces, stop: stops}
	for id, p := range pieces {
		if len(p) > 0 && !v.stops(int32(id)) {
			v.sorted = append(v.sorted, int32(id))
		}
	}
	slices.SortFunc(v.sorted, func(a, b int32) int { return cmp.Or(bytes.Compare(pieces[a], pieces[b]), cmp.Compare(a, b)) })
	v.shared = make([]int, len(v.sorted))
	for i := 1; i < len(v.sorted); i++ {
		a, b := pieces[v.sorted[i-1]], pieces[v.sorted[i]]
		n := 0
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		v.shared[i] = n
	}
	return v
}

func (v *Vocabulary) stops(id int32) bool {
	_, ok := slices.BinarySearch(v.stop, id)
	return ok
}

func (v *Vocabulary) piece(id int32) []byte {
	if id < 0 || int(id) >= len(v.pieces) {
		return nil
	}
	return v.pieces[id]
}

// mask finds the tokens that may come in a state.
func (v *Vocabulary) mask(m *Matcher, s *state) ([]uint64, error) {
	mask := make([]uint64, (len(v.pieces)+63)/64)
	allow := func(id int32) { mask[id/64] |= 1 << (id % 64) }
	if s.ends() {
		for _, id := range v.stop {
			allow(id)
		}
	}
	after := []*state{s} // after[n] is the state after n bytes of the last piece
	for i := 0; i < len(v.sorted); i++ {
		p := v.pieces[v.sorted[i]]
		after = after[:min(v.shared[i]+1, len(after))]
		for n := len(after) - 1; n < len(p) && after[n] != dead; n++ {
			next, err := m.step(after[n], p[n])
			if err != nil {
				return nil, err
			}
			after = append(after, next)
		}
		if last := len(after) - 1; after[last] != dead {
			allow(v.sorted[i])
			continue
		}
		// All that begin so are dead too.
		for i+1 < len(v.sorted) && v.shared[i+1] >= len(after)-1 {
			i++
		}
	}
	return mask, nil
}
