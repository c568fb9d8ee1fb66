package repro

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// Sampling says how a token is drawn from logits. The zero value is greedy: the
// largest logit, and of equals the lowest token.
type Sampling struct {
	Temperature float32 // 0 is greedy
	TopK        int     // keep the k largest; 0 for all
	TopP        float32 // keep the fewest that make up this share; 0 or 1 for all
	MinP        float32 // keep those at least this times as likely as the first
	Seed        uint64
}

// Check refuses values that mean nothing.
func (s Sampling) Check() error {
	switch {
	case !(s.Temperature >= 0) || notFinite(s.Temperature):
		return fmt.Errorf("temperature %g: want 0 or more", s.Temperature)
	case s.TopK < 0:
		return fmt.Errorf("top_k %d: want 0 or more", s.TopK)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fmt.Errorf("top_p %g: want 0 to 1", s.TopP)
	case !(s.MinP >= 0 && s.MinP <= 1):
		return fmt.Errorf("min_p %g: want 0 to 1", s.MinP)
	}
	return nil
}

// SamplingBits returns 64 random bits that are a function of the seed and the
// position alone: Mix(Mix(seed) + (position+1)·0x9e3779b97f4a7c15).
func SamplingBits(seed uint64, position int) uint64 {
	return Mix(Mix(seed) + (uint64(position)+1)*0x9e3779b97f4a7c15)
}

// candidate is a token that may be drawn, with its weight ⌊2^40·e^z⌋. Sums of
// weights are integers, so they need no order.
type candidate struct {
	token  int32
	logit  float32
	weight uint64
}

const weightOne = 1 << 40

// better orders candidates by logit, the largest first, equals by token.
func better(a, b candidate) int {
	if c := cmp.Compare(b.logit, a.logit); c != 0 {
		return c
	}
	return cmp.Compare(a.token, b.token)
}

// Sampler draws tokens by rule 7. It holds the room that it works in: use one at a
// time.
type Sampler struct {
	Sampling
	kept []candidate
}

// NewSampler checks s.
func NewSampler(s Sampling) (*Sampler, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return &Sampler{Sampling: s}, nil
}

// Draw returns the token for a position of a sequence. The same logits, settings
// and position give the same token everywhere. It refuses logits with NaN or
// infinities, except that −Inf marks a token that must not be drawn; one token at
// least must be allowed.
func (s *Sampler) Draw(logits []float32, position int) (int, error) {
	first, err := greedy(logits)
	if err != nil || s.Temperature == 0 || s.TopK == 1 {
		return first, err
	}
	s.keep(logits, logits[first])
	if s.TopK > 0 && s.TopK < len(s.kept) {
		selectBest(s.kept, s.TopK)
		s.kept = s.kept[:s.TopK]
	}
	if s.TopP > 0 && s.TopP < 1 {
		s.kept = nucleus(s.kept, s.TopP)
	}
	slices.SortFunc(s.kept, func(a, b candidate) int { return cmp.Compare(a.token, b.token) })
	at, _ := bits.Mul64(SamplingBits(s.Seed, position), total(s.kept))
	for _, c := range s.kept {
		if at < c.weight {
			return int(c.token), nil
		}
		at -= c.weight
	}
	return 0, fmt.Errorf("repro: %d is not within the %d weights it was drawn from", at, len(s.kept))
}

// keep collects the tokens whose weight is not zero and passes MinP.
func (s *Sampler) keep(logits []float32, top float32) {
	s.kept = s.kept[:0]
	for i, v := range logits {
		e := exp(float32(float32(v-top) / s.Temperature))
		if w := uint64(float64(e) * weightOne); w > 0 && e >= s.MinP {
			s.kept = append(s.kept, candidate{int32(i), v, w})
		}
	}
}

// selectBest moves the best k candidates to the front, in some order: a heap of k
// with the worst on top takes each one that is better than that.
func selectBest(c []candidate, k int) {
	heap := c[:k]
	for i := k/2 - 1; i >= 0; i-- {
		siftDown(heap, i)
	}
	for i := k; i < len(c); i++ {
		if better(c[i], heap[0]) < 0 {
			heap[0], c[i] = c[i], heap[0]
			siftDown(heap, 0)
		}
	}
}

func siftDown(heap []candidate, i int) {
	for {
		worst := 2*i + 1
		if worst >= len(heap) {
			return
		}
		if r := worst + 1; r < len(heap) && better(heap[r], heap[worst]) > 0 {
			worst = r
		}
		if better(heap[worst], heap[i]) <= 0 {
			return
		}
		heap[i], heap[worst] = heap[worst], heap[i]
		i = worst
	}
}

func total(c []candidate) (sum uint64) {
	for _, c := range c {
		sum += c.weight
	}
	return sum
}

// nucleus returns the best candidates that make up the share p of all.
func nucleus(kept []candidate, p float32) []candidate {
	// The comparison sum ≥ p·total, both times 2^32, is one of 128-bit integers.
	wantHi, wantLo := bits.Mul64(uint64(float64(p)*(1<<32)), total(kept))
	// As a rule a few are enough, so it is not worth sorting all at once.
	for n := min(256, len(kept)); ; n = min(8*n, len(kept)) {
		selectBest(kept, n)
		slices.SortFunc(kept[:n], better)
		var sum uint64
		for i, c := range kept[:n] {
			sum += c.weight
			hi, lo := bits.Mul64(sum, 1<<32)
			if hi > wantHi || hi == wantHi && lo >= wantLo {
				return kept[:i+1]
			}
		}
		if n == len(kept) {
			return kept
		}
	}
}

// greedy returns the token with the largest logit, the lowest among equals.
func greedy(logits []float32) (int, error) {
	best := -1
	for i, v := range logits {
		if notFinite(v) {
			if v < 0 {
				continue // −Inf
			}
			return 0, fmt.Errorf("logit of token %d is %g: %w", i, v, ErrNotFinite)
		}
		if best < 0 || v > logits[best] {
			best = i
		}
	}
	if best < 0 {
		return 0, fmt.Errorf("none of %d tokens may be drawn", len(logits))
	}
	return best, nil
}

// LogSoftmax sets dst[i] to RN(RN(x[i]−m) − log(Sum(e^RN(x[j]−m)))), m being the
// maximum: the logarithms of Softmax. dst may be x.
func LogSoftmax(dst, x []float32) error {
	if len(x) == 0 || len(dst) != len(x) {
		return fmt.Errorf("log-softmax: %d results for %d values", len(dst), len(x))
	}
	if err := Finite(x); err != nil {
		return fmt.Errorf("log-softmax: %w", err)
	}
	top := slices.Max(x)
	var l laneSum
	for i, v := range x {
		l[i%lanes] += exp(v - top)
	}
	log := float32(log64(float64(l.total())))
	for i, v := range x {
		dst[i] = float32(float32(v-top) - log)
	}
	return nil
}
