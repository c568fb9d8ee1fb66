package logprobs

import (
	"fmt"
	"math"
)

// Clip bounds what one token adds to a mean, so that one odd token does not decide.
const Clip = 2.0

// Least is how many tokens are judged at least.
const Least = 32

// Token is one token of an answer, as the reference sees it: see llm.Scored.
type Token struct {
	Margin                   float64 // logits
	Logprob                  float64 // before temperature
	Drawn, Entropy, Variance float64 // at the temperature of the draw
	Claimed                  float64 // logprob that the server told; NaN if none
}

// Rule is how much honest servers may differ from the reference.
type Rule struct {
	Alpha  float64 // how often each statistic may fail an honest answer
	Margin float64 // the mean margin of honest greedy answers, at most
	Claims float64 // the mean distance of honest claims, at most
	Slack  float64 // the mean drift of surprise by noise, in standard deviations a token
}

// Default fits servers that compute in 8 bits or more.
var Default = Rule{Alpha: 1e-4, Margin: 0.004, Claims: 0.1, Slack: 0.05}

// Draw says how the answer was to be drawn.
type Draw struct {
	Temperature float64
	Cut         bool // by top_k, top_p or min_p: surprise is not known then
}

// Verdict is what came of an answer.
type Verdict struct {
	// Judged is false where too little is known: too few tokens, or drawn with cuts
	// and without claims. Then Pass is true.
	Judged bool
	Pass   bool
	Reason string // in words, with the statistic and its threshold
}

// Judge tests an answer.
func (r Rule) Judge(tokens []Token, d Draw) Verdict {
	if len(tokens) < Least {
		return Verdict{Pass: true, Reason: fmt.Sprintf("%d tokens are too few to tell models apart: at least %d", len(tokens), Least)}
	}
	v := Verdict{Pass: true}
	test := func(name string, value, limit float64) {
		v.Judged = true
		said := fmt.Sprintf("%s %.3f, at most %.3f over %d tokens", name, value, limit, len(tokens))
		if !(value <= limit) { // NaN fails
			v.Pass = false
		}
		if v.Reason != "" {
			v.Reason += "; "
		}
		v.Reason += said
	}
	if d.Temperature == 0 {
		mean, _ := clipped(tokens, func(t *Token) float64 { return t.Margin })
		test("margin", mean, r.limit(r.Margin, len(tokens)))
	} else if !d.Cut {
		test("surprise", math.Abs(surprise(tokens)), r.quantile()+r.Slack*math.Sqrt(float64(len(tokens))))
	}
	if mean, n := clipped(tokens, func(t *Token) float64 { return math.Abs(t.Claimed - t.Logprob) }); n > 0 {
		test("claims", mean, r.limit(r.Claims, n))
	}
	if !v.Judged {
		v.Reason = "drawn with cuts and without logprobs: nothing to test"
	}
	return v
}

// clipped is the mean of a value in [0, Clip] over the tokens that have it.
func clipped(tokens []Token, value func(*Token) float64) (mean float64, n int) {
	for i := range tokens {
		x := value(&tokens[i])
		if math.IsNaN(x) {
			continue
		}
		mean += min(max(x, 0), Clip)
		n++
	}
	return mean / float64(max(n, 1)), n
}

// limit is what the mean of n values in [0, Clip] of expectation mu exceeds with
// probability Alpha at most.
func (r Rule) limit(mu float64, n int) float64 {
	l := math.Log(1/r.Alpha) / float64(n)
	return mu + math.Sqrt(2*Clip*mu*l) + Clip*l/3
}

// quantile is the normal distribution's, for both sides.
func (r Rule) quantile() float64 { return math.Sqrt2 * math.Erfinv(1-r.Alpha) }

// surprise is Z: positive where tokens are less likely than drawn ones are,
// negative where they are more likely.
func surprise(tokens []Token) float64 {
	sum, variance := 0.0, 0.0
	for i := range tokens {
		t := &tokens[i]
		sum += -t.Drawn - t.Entropy
		variance += t.Variance
	}
	// Where next to nothing is open there is next to nothing to be surprised by; the
	// floor keeps rounding from being magnified.
	return sum / math.Sqrt(max(variance, 0.01*float64(len(tokens))))
}
