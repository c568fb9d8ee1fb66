package text

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"atoll/internal/repro"
)

// kind is what a feature is made of.
type kind uint8

const (
	word  kind = iota // one token
	pair              // two neighbouring tokens
	chars             // some letters of a word
)

// A word weighs more than one of the many n-grams of its letters.
var kindWeight = [...]float32{word: 1, pair: 1, chars: 0.5}

// The lengths of letter n-grams, in code points; the borders of a word count as
// one each.
const minChars, maxChars = 3, 5

// occurrence is one feature at one place of the text.
type occurrence struct {
	row   int32
	entry int32 // its index in scratch.entries
	tok   int32 // its token; of a pair the first
	kind  kind
	neg   bool
}

// entry is one coordinate of the text's vector.
type entry struct {
	row   int32
	count int32
	value float32
}

// scratch is the memory for reading one text, reused for the next.
type scratch struct {
	folded []byte
	toks   []token
	hashes []uint64 // of each token
	bounds []int32  // of the code points of one word
	occ    []occurrence
	ents   []entry
	slot   []int32 // row -> index into ents + 1, zero outside of vector
	square []float32
	norm   float32 // the factor that was applied to all values

	scores, probs []float32
	why           whyScratch
}

// FNV-1a over bytes, started differently for each kind of feature.
const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x100000001b3

	wordSeed  = fnvOffset ^ 0x77
	charsSeed = fnvOffset ^ 0x63
	border    = 0x1f // stands for the edge of a word; folded words hold no control characters
)

func hashBytes(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}

// vector reads text into s.ents, a sparse vector of length 1, in the order in
// which its features first occur, and s.occ, every occurrence of each. rows maps
// a bucket to its row; features of buckets without a row (negative) do not exist.
func (s *scratch) vector(text string, rows []int32) error {
	s.folded = fold(s.folded[:0], text)
	s.toks = tokens(s.toks[:0], s.folded)
	s.occ, s.ents, s.hashes = s.occ[:0], s.ents[:0], s.hashes[:0]
	for i, t := range s.toks {
		b := s.folded[t.start:t.end]
		h := hashBytes(wordSeed, b)
		s.hashes = append(s.hashes, h)
		s.add(rows, h, int32(i), word)
		if i > 0 {
			s.add(rows, pairHash(s.hashes[i-1], h), int32(i-1), pair)
		}
		if t.word {
			s.addChars(rows, b, int32(i))
		}
	}
	for _, e := range s.ents {
		s.slot[e.row] = 0
	}
	return s.normalise()
}

func pairHash(a, b uint64) uint64 { return repro.Mix(a)*fnvPrime ^ b }

// addChars adds the letter n-grams of one word.
func (s *scratch) addChars(rows []int32, b []byte, tok int32) {
	s.bounds = s.bounds[:0]
	for i := 0; i < len(b); {
		s.bounds = append(s.bounds, int32(i))
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		_, size := utf8.DecodeRune(b[i:])
		i += size
	}
	// Position 0 and n+1 are the borders, 1..n the code points.
	n := len(s.bounds)
	s.bounds = append(s.bounds, int32(len(b)))
	for from := 0; from <= n; from++ {
		h := uint64(charsSeed)
		for at := from; at < from+maxChars && at <= n+1; at++ {
			if at == 0 || at == n+1 {
				h = (h ^ border) * fnvPrime
			} else {
				h = hashBytes(h, b[s.bounds[at-1]:s.bounds[at]])
			}
			if at-from+1 >= minChars {
				s.add(rows, h, tok, chars)
			}
		}
	}
}

// add counts one occurrence. The hash gives the bucket and, by another bit, the
// sign, so that features that share a bucket cancel rather than add up
// (Weinberger et al., "Feature hashing for large scale multitask learning", 2009).
func (s *scratch) add(rows []int32, h uint64, tok int32, k kind) {
	h = repro.Mix(h)
	row := rows[h>>32&uint64(len(rows)-1)]
	if row < 0 {
		return
	}
	at := s.slot[row]
	if at == 0 {
		s.ents = append(s.ents, entry{row: row})
		at = int32(len(s.ents))
		s.slot[row] = at
	}
	e := &s.ents[at-1]
	neg := h&1 == 1
	e.count++
	if neg {
		e.value -= kindWeight[k]
	} else {
		e.value += kindWeight[k]
	}
	s.occ = append(s.occ, occurrence{row: row, entry: at - 1, tok: tok, kind: k, neg: neg})
}

// normalise damps repetition by the root of the count, which unlike a logarithm
// IEEE 754 rounds alike everywhere, and scales the vector to length 1.
func (s *scratch) normalise() error {
	s.square = slices.Grow(s.square[:0], len(s.ents))
	for i := range s.ents {
		e := &s.ents[i]
		if e.count > 1 {
			e.value /= root(e.count)
		}
		s.square = append(s.square, float32(e.value*e.value))
	}
	total, err := repro.Sum(s.square)
	if err != nil {
		return fmt.Errorf("text: %w", err)
	}
	s.norm = 0
	if total > 0 {
		length, err := repro.Sqrt(total)
		if err != nil {
			return fmt.Errorf("text: %w", err)
		}
		s.norm = 1 / length
	}
	for i := range s.ents {
		s.ents[i].value = float32(s.ents[i].value * s.norm)
	}
	return nil
}

// root returns √n, which is exactly rounded (see repro.Sqrt).
func root(n int32) float32 { return float32(math.Sqrt(float64(n))) }
