package logprobs

import (
	"math"
	"math/rand/v2"
	"testing"
)

// drawn is a token of a random distribution over a few words, seen by a reference
// that knows it up to noise.
func drawn(rng *rand.Rand, noise float64) Token {
	p := make([]float64, 8)
	logits, sum := make([]float64, len(p)), 0.0
	for i := range p {
		logits[i] = 2 * rng.NormFloat64()
		p[i] = math.Exp(logits[i])
		sum += p[i]
	}
	at, u := 0, rng.Float64()*sum
	for u -= p[0]; u > 0 && at < len(p)-1; u -= p[at] {
		at++
	}
	claimed := logits[at] - math.Log(sum)
	sum = 0
	for i := range p {
		logits[i] += noise * rng.NormFloat64()
		p[i] = math.Exp(logits[i])
		sum += p[i]
	}
	t := Token{Drawn: logits[at] - math.Log(sum), Claimed: claimed}
	t.Logprob = t.Drawn
	for i := range p {
		l := math.Log(sum) - logits[i]
		t.Entropy += p[i] / sum * l
		t.Variance += p[i] / sum * l * l
	}
	t.Variance -= t.Entropy * t.Entropy
	return t
}

// Over many honest answers no more fail than the rule says: without slack Z keeps its
// rate, and means of bounded values stay far below theirs.
func TestFalseAlarms(t *testing.T) {
	t.Parallel()
	const runs, n = 4000, 128
	rng := rand.New(rand.NewPCG(7, 7))
	exact := Rule{Alpha: 0.05, Margin: 0.01, Claims: 0.05}
	noisy := exact
	noisy.Slack = 0.05
	var failed, failedNoisy int
	for range runs {
		tokens, rough := make([]Token, n), make([]Token, n)
		for i := range n {
			tokens[i], rough[i] = drawn(rng, 0), drawn(rng, 0.05)
		}
		if !exact.Judge(tokens, Draw{Temperature: 1}).Pass {
			failed++
		}
		if !noisy.Judge(rough, Draw{Temperature: 1}).Pass {
			failedNoisy++
		}
	}
	for name, got := range map[string]int{"without noise": failed, "with noise and slack": failedNoisy} {
		rate := float64(got) / runs
		t.Logf("%s: %.4f fail, %.2f stated", name, rate, exact.Alpha)
		if rate > exact.Alpha*1.3 {
			t.Errorf("%s: a share of %.4f fails", name, rate)
		}
	}
	if failed == 0 {
		t.Error("nothing ever fails: the threshold is not the one stated")
	}
}

// A mean that is as high as honest ones may be at most passes but rarely, also where
// it is made of few large values.
func TestLimit(t *testing.T) {
	t.Parallel()
	const runs, n = 4000, 200
	r := Rule{Alpha: 0.05, Margin: 0.02}
	rng := rand.New(rand.NewPCG(3, 3))
	failed := 0
	for range runs {
		tokens := make([]Token, n)
		for i := range tokens {
			tokens[i].Claimed = math.NaN()
			if rng.Float64() < r.Margin/Clip {
				tokens[i].Margin = 100 // counts as Clip
			}
		}
		if !r.Judge(tokens, Draw{}).Pass {
			failed++
		}
	}
	if rate := float64(failed) / runs; rate > r.Alpha {
		t.Errorf("a share of %.4f fails, %.2f stated", rate, r.Alpha)
	}
}

func TestTooLittle(t *testing.T) {
	t.Parallel()
	far := Token{Margin: 9, Drawn: -9, Entropy: 1, Variance: 1, Claimed: math.NaN()}
	many := func(n int, x Token) []Token {
		list := make([]Token, n)
		for i := range list {
			list[i] = x
		}
		return list
	}
	for name, c := range map[string]struct {
		tokens       []Token
		d            Draw
		judged, pass bool
	}{
		"few":                      {many(Least-1, far), Draw{}, false, true},
		"enough":                   {many(Least, far), Draw{}, true, false},
		"cut, and no claims":       {many(99, far), Draw{Temperature: 1, Cut: true}, false, true},
		"cut, with claims":         {many(99, Token{Logprob: -5, Claimed: -0.1}), Draw{Temperature: 1, Cut: true}, true, false},
		"a number out of range":    {many(99, Token{Drawn: math.Inf(-1), Entropy: math.NaN(), Claimed: math.NaN()}), Draw{Temperature: 1}, true, false},
		"nothing open, all as due": {many(99, Token{Claimed: 0}), Draw{Temperature: 1}, true, true},
	} {
		if v := Default.Judge(c.tokens, c.d); v.Judged != c.judged || v.Pass != c.pass {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
