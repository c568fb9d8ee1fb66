package text

import (
	"cmp"
	"slices"
)

// whyScratch collects what each word and each pair contributed.
type whyScratch struct {
	index  map[uint64]int32 // hash of a word or pair -> index into parts
	single []float32        // of each token's place
	double []float32        // of each place of a pair
	parts  []part
}

// part is what one word, wherever it occurs, or one pair adds to the margin.
type part struct {
	tok    int32 // its first place
	pair   bool
	weight float32
}

// why names the heaviest pieces of the text that spoke for best.
func (m *Model) why(s *scratch, best, second, limit int) []Reason {
	parts := slices.DeleteFunc(m.split(s, best, second), func(p part) bool { return micro(p.weight) <= 0 })
	slices.SortFunc(parts, func(a, b part) int {
		if c := cmp.Compare(b.weight, a.weight); c != 0 {
			return c
		}
		if c := cmp.Compare(a.tok, b.tok); c != 0 {
			return c
		}
		if a.pair { // at most one of them is
			return 1
		}
		return -1
	})
	out := make([]Reason, min(limit, len(parts)))
	for i, p := range parts[:len(out)] {
		out[i] = Reason{s.feature(p), micro(p.weight)}
	}
	return out
}

// split divides the margin between two classes among the pieces of the text.
// It is exact up to rounding: bias difference plus all parts is the margin.
// Letter n-grams count towards their word, because people read words.
func (m *Model) split(s *scratch, best, second int) []part {
	w := &s.why
	w.single = zeroed(w.single, len(s.toks))
	w.double = zeroed(w.double, len(s.toks))
	k := len(m.labels)
	for _, o := range s.occ {
		at := int(o.row) * k
		q := int(m.weights[at+best]) - int(m.weights[at+second])
		v := float32(kindWeight[o.kind] * s.norm)
		if n := s.ents[o.entry].count; n > 1 {
			v /= root(n)
		}
		if o.neg {
			v = -v
		}
		v = float32(v * m.scales[o.row])
		if o.kind == pair {
			w.double[o.tok] += float32(v * float32(q))
		} else {
			w.single[o.tok] += float32(v * float32(q))
		}
	}
	return s.merge()
}

// merge adds up the places of each word and of each pair.
func (s *scratch) merge() []part {
	w := &s.why
	if w.index == nil {
		w.index = make(map[uint64]int32)
	}
	clear(w.index)
	w.parts = w.parts[:0]
	add := func(h uint64, p part) {
		if p.weight == 0 {
			return
		}
		if at, ok := w.index[h]; ok {
			w.parts[at].weight += p.weight
			return
		}
		w.index[h] = int32(len(w.parts))
		w.parts = append(w.parts, p)
	}
	for i := range s.toks {
		add(s.hashes[i], part{int32(i), false, w.single[i]})
		if i+1 < len(s.toks) {
			add(pairHash(s.hashes[i], s.hashes[i+1]), part{int32(i), true, w.double[i]})
		}
	}
	return w.parts
}

// zeroed returns x with n zeros, reusing its memory.
func zeroed(x []float32, n int) []float32 {
	x = slices.Grow(x[:0], n)[:n]
	clear(x)
	return x
}

// feature is the text of a part.
func (s *scratch) feature(p part) string {
	t := s.toks[p.tok]
	text := string(s.folded[t.start:t.end])
	if p.pair {
		t = s.toks[p.tok+1]
		text += " " + string(s.folded[t.start:t.end])
	}
	return text
}
