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

// A Sampler draws tokens by rule 7. It holds the room that it works in: use one at
// a time.
type Sampler struct {
	Sampling
	isa ISA

	logits []float32
	top    float32   // the largest of them
	e      []float32 // e^z of each token that may be drawn, else 0
	sums   []bucket
	last   []int32 // tokens of the bucket in which a cut ends
}

// NewSampler checks s. isa must be one of [Available]; it changes no result.
func NewSampler(s Sampling, isa ISA) (*Sampler, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return &Sampler{Sampling: s, isa: isa}, nil
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
	s.logits, s.top = logits, logits[first]
	s.exponentials()
	if s.TopK > 0 {
		s.cut(func(n int, _ uint64) bool { return n >= s.TopK })
	}
	if s.TopP > 0 && s.TopP < 1 {
		// The comparison sum ≥ p·total, both times 2^32, is one of 128-bit integers.
		wantHi, wantLo := bits.Mul64(uint64(float64(s.TopP)*(1<<32)), s.total())
		s.cut(func(_ int, sum uint64) bool {
			hi, lo := bits.Mul64(sum, 1<<32)
			return hi > wantHi || hi == wantHi && lo >= wantLo
		})
	}
	at, _ := bits.Mul64(SamplingBits(s.Seed, position), s.total())
	for token, e := range s.e {
		w := weight(e)
		if at < w {
			return token, nil
		}
		at -= w
	}
	return 0, fmt.Errorf("repro: %d is not within the %d weights it was drawn from", at, len(s.e))
}

// weight is ⌊2^40·e⌋. Sums of weights are integers, so they need no order.
func weight(e float32) uint64 { return uint64(float64(e) * (1 << 40)) }

func (s *Sampler) total() (sum uint64) {
	for _, e := range s.e {
		sum += weight(e)
	}
	return sum
}

// exponentials fills e. Those that do not pass MinP become 0.
func (s *Sampler) exponentials() {
	s.e = slices.Grow(s.e[:0], len(s.logits))[:len(s.logits)]
	for i, v := range s.logits {
		s.e[i] = float32(v-s.top) / s.Temperature
	}
	var unused laneSum
	n := len(s.e) &^ (lanes - 1)
	expSum(s.isa, &unused, s.e[:n], 0)
	unused.expSum(s.e[n:], 0)
	for i, e := range s.e {
		if e < s.MinP {
			s.e[i] = 0
		}
	}
}

// A bucket is the tokens whose logits lie within 1/256 of a temperature.
type bucket struct {
	n   int
	sum uint64 // of weights
}

// buckets is enough for all: weights are zero from 28 temperatures below the top.
const buckets = 28*256 + 1

// cut keeps the best tokens (of equals the lower), as few as are enough by their
// number and the sum of their weights; all, if that never is. Sorting them would
// be simple and slow: sums by bucket tell where the last one lies, and only its
// bucket is sorted.
func (s *Sampler) cut(enough func(n int, sum uint64) bool) {
	scale := 256 / float64(s.Temperature)
	index := func(token int) int { return min(int(float64(s.top-s.logits[token])*scale), buckets-1) }
	s.sums = append(s.sums[:0], make([]bucket, buckets)...)
	for token, e := range s.e {
		if w := weight(e); w > 0 {
			b := &s.sums[index(token)]
			b.n, b.sum = b.n+1, b.sum+w
		}
	}
	var n int
	var sum uint64
	at := slices.IndexFunc(s.sums, func(b bucket) bool {
		if enough(n+b.n, sum+b.sum) {
			return true
		}
		n, sum = n+b.n, sum+b.sum
		return false
	})
	if at < 0 {
		return
	}
	s.last = s.last[:0]
	for token, e := range s.e {
		if weight(e) > 0 && index(token) == at {
			s.last = append(s.last, int32(token))
		}
	}
	slices.SortStableFunc(s.last, func(a, b int32) int { return cmp.Compare(s.logits[b], s.logits[a]) })
	worst := s.last[slices.IndexFunc(s.last, func(token int32) bool {
		n, sum = n+1, sum+weight(s.e[token])
		return enough(n, sum)
	})]
	for token, v := range s.logits {
		if limit := s.logits[worst]; v < limit || v == limit && token > int(worst) {
			s.e[token] = 0
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
