package repro_test

import (
	"cmp"
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"

	"atoll/internal/repro"
)

func draw(t *testing.T, s repro.Sampling, logits []float32, pos int) int {
	t.Helper()
	sampler, err := repro.NewSampler(s, repro.Portable)
	check(t, err)
	token, err := sampler.Draw(logits, pos)
	check(t, err)
	return token
}

func TestTiesGoToTheLowerToken(t *testing.T) {
	t.Parallel()
	logits := []float32{1, 5, 2, 5, 5, float32(math.Copysign(0, -1)), 0}
	if got := draw(t, repro.Sampling{}, logits, 0); got != 1 {
		t.Errorf("greedy gives %d, want 1", got)
	}
	for pos := range 100 {
		if got := draw(t, repro.Sampling{Temperature: 1, TopK: 2}, logits, pos); got != 1 && got != 3 {
			t.Fatalf("top-k 2 gives %d, want 1 or 3", got)
		}
		// Three tokens have a third each, so the first two make up 60 %.
		if got := draw(t, repro.Sampling{Temperature: 1, TopP: 0.6}, logits, pos); got != 1 && got != 3 {
			t.Fatalf("top-p 0.6 gives %d, want 1 or 3", got)
		}
		if got := draw(t, repro.Sampling{Temperature: 1, MinP: 0.5}, logits, pos); got != 1 && got != 3 && got != 4 {
			t.Fatalf("min-p 0.5 gives %d, want 1, 3 or 4", got)
		}
	}
}

// A draw depends on seed and position alone: not on what was drawn before.
func TestDrawHasNoHistory(t *testing.T) {
	t.Parallel()
	logits := normal(repro.NewRandom(1), 1000, 2)
	sampler, err := repro.NewSampler(repro.Sampling{Temperature: 1, Seed: 7}, repro.Portable)
	check(t, err)
	var forward [50]int
	for pos := range forward {
		forward[pos], err = sampler.Draw(logits, pos)
		check(t, err)
	}
	different := 0
	for pos := len(forward) - 1; pos >= 0; pos-- {
		if got := draw(t, repro.Sampling{Temperature: 1, Seed: 7}, logits, pos); got != forward[pos] {
			t.Fatalf("position %d gives %d alone and %d in order", pos, got, forward[pos])
		}
		if draw(t, repro.Sampling{Temperature: 1, Seed: 8}, logits, pos) != forward[pos] {
			different++
		}
	}
	if different < 40 {
		t.Errorf("another seed changes %d of %d tokens", different, len(forward))
	}
}

// The frequencies are those of the softmax: a chi-square test at a fixed seed.
func TestDrawFollowsProbabilities(t *testing.T) {
	t.Parallel()
	logits := []float32{0, 1, 2, 0.5, -1, 1.5}
	p := make([]float32, len(logits))
	check(t, repro.Softmax(p, logits))
	sampler, err := repro.NewSampler(repro.Sampling{Temperature: 1, Seed: 3}, repro.Portable)
	check(t, err)
	const n = 50000
	count := make([]float64, len(p))
	for pos := range n {
		token, err := sampler.Draw(logits, pos)
		check(t, err)
		count[token]++
	}
	var chi float64
	for i, c := range count {
		want := n * float64(p[i])
		chi += (c - want) * (c - want) / want
	}
	if chi > 20.5 { // 5 degrees of freedom, 0.1 %
		t.Errorf("chi-square is %.1f for counts %v of probabilities %v", chi, count, p)
	}
}

func TestForbiddenTokens(t *testing.T) {
	t.Parallel()
	no := float32(math.Inf(-1))
	for pos := range 50 {
		if got := draw(t, repro.Sampling{Temperature: 5}, []float32{no, 1, no, 2}, pos); got != 1 && got != 3 {
			t.Fatalf("token %d was forbidden", got)
		}
	}
	sampler, err := repro.NewSampler(repro.Sampling{Temperature: 1}, repro.Portable)
	check(t, err)
	if got, err := sampler.Draw([]float32{no, no}, 0); err == nil {
		t.Errorf("%d was drawn from nothing", got)
	}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		if _, err := sampler.Draw([]float32{1, bad}, 0); !errors.Is(err, repro.ErrNotFinite) {
			t.Errorf("logit %g: %v", bad, err)
		}
	}
}

// A quantised product is close to the exact one: the kernels compute what is meant.
func TestQuantizedProductIsClose(t *testing.T) {
	t.Parallel()
	r := repro.NewRandom(9)
	const rows, cols = 64, 512
	weights, x := normal(r, rows*cols, 1), normal(r, cols, 1)
	blocks := make([]byte, rows*repro.RowBytes(cols))
	check(t, repro.QuantizeWeights(blocks, weights))
	m, err := repro.NewMatrix(rows, cols)
	check(t, err)
	check(t, m.SetRows(0, blocks))
	pool := newPool(t, 1, isas(t)[len(isas(t))-1])
	a, err := repro.NewActivations(cols, 1)
	check(t, err)
	check(t, a.Set(x, pool))
	got, row := make([]float32, rows), make([]float32, cols)
	m.Mul(got, a, pool)
	for i := range rows {
		var want float64
		for k, v := range x {
			want += float64(v) * float64(weights[i*cols+k])
		}
		if math.Abs(float64(got[i])-want) > 0.5 {
			t.Errorf("row %d: %g, want about %g", i, got[i], want)
		}
		m.Row(row, i)
		for k, v := range row {
			if math.Abs(float64(v-weights[i*cols+k])) > 0.02 {
				t.Fatalf("weight %d, %d comes back as %g, was %g", i, k, v, weights[i*cols+k])
			}
		}
	}
}

// Settings that keep one token leave no choice, and the ones kept are the best.
func TestTopKKeepsTheBest(t *testing.T) {
	t.Parallel()
	r := repro.NewRandom(2)
	for k := 2; k < 60; k += 7 {
		logits := normal(r, 200, 0.1)
		for i := range logits { // few values, hence many ties
			logits[i] = float32(math.Round(float64(logits[i]) * 50))
		}
		sampler, err := repro.NewSampler(repro.Sampling{Temperature: 1e6, TopK: k, Seed: 1}, repro.Portable)
		check(t, err)
		seen := map[int]bool{}
		for pos := range 60 * k {
			token, err := sampler.Draw(logits, pos)
			check(t, err)
			seen[token] = true
		}
		for token := range seen {
			better := 0
			for i, v := range logits {
				if v > logits[token] || v == logits[token] && i < token {
					better++
				}
			}
			if better >= k {
				t.Fatalf("top-k %d gave token %d, which is number %d", k, token, better+1)
			}
		}
		if len(seen) != k {
			t.Errorf("top-k %d gave %d tokens", k, len(seen))
		}
	}
}

func BenchmarkDraw(b *testing.B) {
	logits := normal(repro.NewRandom(1), 128<<10, 3)
	for name, s := range map[string]repro.Sampling{
		"greedy": {}, "plain": {Temperature: 0.8}, "top-k 40": {Temperature: 0.8, TopK: 40}, "top-p 0.9": {Temperature: 0.8, TopP: 0.9},
	} {
		b.Run(name, func(b *testing.B) {
			have := repro.Available()
			sampler, err := repro.NewSampler(s, have[len(have)-1])
			check(b, err)
			for pos := 0; b.Loop(); pos++ {
				_, err := sampler.Draw(logits, pos)
				check(b, err)
			}
		})
	}
}

// Draw gives what rule 7 says, written out as it stands: with ties, flat and
// peaked logits, few tokens and many, on each instruction set.
func TestDrawIsTheRule(t *testing.T) {
	t.Parallel()
	r := repro.NewRandom(11)
	for _, s := range []repro.Sampling{
		{Temperature: 1}, {Temperature: 0.01}, {Temperature: 40}, {Temperature: 0.8, TopK: 7}, {Temperature: 0.8, TopK: 500}, {Temperature: 1, TopP: 0.9},
		{Temperature: 1, TopP: 1e-12}, {Temperature: 2, TopP: 0.999}, {Temperature: 1, MinP: 0.01, TopK: 100, TopP: 0.5}, {Temperature: 1e-30, TopP: 0.5, TopK: 3},
	} {
		for _, isa := range isas(t) {
			sampler, err := repro.NewSampler(s, isa)
			check(t, err)
			for pos := range 40 {
				s.Seed, sampler.Seed = uint64(pos), uint64(pos)
				logits := normal(r, 1+(pos*pos*37)%5000, float32(1+pos%5))
				for i := range logits {
					if pos%3 == 0 {
						logits[i] = float32(math.Round(float64(logits[i]))) // many are equal
					}
				}
				got, err := sampler.Draw(logits, pos)
				check(t, err)
				if want := ruleDraw(t, s, logits, pos); got != want {
					t.Fatalf("%+v, %v, %d tokens: drew %d, the rule says %d", s, isa, len(logits), got, want)
				}
			}
		}
	}
}

func ruleDraw(t *testing.T, s repro.Sampling, logits []float32, pos int) int {
	t.Helper()
	type candidate struct {
		token  int
		weight uint64
	}
	top := slices.Max(logits)
	var kept []candidate
	for token, v := range logits {
		e, err := repro.Exp(float32(float32(v-top) / s.Temperature))
		check(t, err)
		if w := uint64(math.Floor(float64(e) * (1 << 40))); w > 0 && e >= s.MinP {
			kept = append(kept, candidate{token, w})
		}
	}
	slices.SortStableFunc(kept, func(a, b candidate) int { return cmp.Compare(logits[b.token], logits[a.token]) })
	total := func() *big.Int {
		sum := new(big.Int)
		for _, c := range kept {
			sum.Add(sum, new(big.Int).SetUint64(c.weight))
		}
		return sum
	}
	if s.TopK > 0 && s.TopK < len(kept) {
		kept = kept[:s.TopK]
	}
	if s.TopP > 0 && s.TopP < 1 {
		want := new(big.Int).Mul(total(), big.NewInt(int64(float64(s.TopP)*(1<<32))))
		sum := new(big.Int)
		for i, c := range kept {
			sum.Add(sum, new(big.Int).SetUint64(c.weight))
			if new(big.Int).Lsh(sum, 32).Cmp(want) >= 0 {
				kept = kept[:i+1]
				break
			}
		}
	}
	slices.SortFunc(kept, func(a, b candidate) int { return cmp.Compare(a.token, b.token) })
	at := new(big.Int).Mul(new(big.Int).SetUint64(repro.SamplingBits(s.Seed, pos)), total())
	at.Rsh(at, 64)
	for _, c := range kept {
		w := new(big.Int).SetUint64(c.weight)
		if at.Cmp(w) < 0 {
			return c.token
		}
		at.Sub(at, w)
	}
	t.Fatal("nothing drawn")
	return 0
}
