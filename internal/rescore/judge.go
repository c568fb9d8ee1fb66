package rescore

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"math"
	"strings"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/verify/logprobs"
)

// Verdict is what came of a check.
type Verdict struct {
	Judged bool // false: too little can be said of so few tokens, and Pass is true
	Pass   bool
	Reason string // in words, with statistics and thresholds
}

// scores is one line of what the reference says.
type scores struct {
	ID      int          `json:"id"`
	Prompt  int64        `json:"prompt_tokens"`
	Context int64        `json:"context"`
	Told    bool         `json:"told"`
	Scores  [][5]float64 `json:"scores"`
}

// group are the answers that were drawn in one way.
type group struct {
	name   string
	draw   logprobs.Draw
	tokens []logprobs.Token
}

// Judge tests a result by what a reference says of it. Its error means that the
// reference has not said what it was asked: see Question.
func Judge(in engine.Input, claimed, asking, said []byte) (Verdict, error) {
	all, err := read(in, claimed)
	if err != nil {
		return Verdict{}, err
	}
	groups := []*group{{name: "greedy"}, {name: "drawn", draw: logprobs.Draw{Temperature: 1}}, {name: "drawn with cuts", draw: logprobs.Draw{Temperature: 1, Cut: true}}}
	next, stop := iter.Pull(bytes.Lines(said))
	defer stop()
	for b := range bytes.Lines(asking) {
		var q question
		var s scores
		if err := json.Unmarshal(bytes.TrimSpace(b), &q); err != nil {
			return Verdict{}, err
		}
		line, ok := next()
		if !ok || json.Unmarshal(bytes.TrimSpace(line), &s) != nil || s.ID != q.ID || q.ID >= len(all) {
			return Verdict{}, fmt.Errorf("the reference has not answered line %d", q.ID+1)
		}
		a := &all[q.ID]
		if n := len(s.Scores); s.Told && n != len(a.tokens) && n != len(a.tokens)+1 {
			return Verdict{}, fmt.Errorf("the reference has scored %d tokens of line %d, which has %d", n, q.ID+1, len(a.tokens))
		}
		if why := cmp.Or(a.short(&s), a.meter(&s)); why != "" {
			return Verdict{Judged: true, Reason: fmt.Sprintf("line %d: %s", q.ID+1, why)}, nil
		}
		if err := a.sort(groups, &s); err != nil {
			return Verdict{}, fmt.Errorf("line %d: %w", q.ID+1, err)
		}
	}
	if _, more := next(); more {
		return Verdict{}, fmt.Errorf("the reference has answered more than it was asked")
	}
	return judge(groups), nil
}

// By how much a server may count more tokens than the reference: templates differ,
// and counts at the edges.
const (
	spareTokens = 64
	spareShare  = 8 // an eighth
)

// short says that there should have been an answer, or a longer one.
func (a *asked) short(s *scores) string {
	n, most := int64(len(s.Scores)), int64(completion.Value(a.line.MaxTokens, completion.DefaultTokens))
	fits := s.Prompt+n+1 < s.Context
	switch {
	case a.claim.Error != "" && fits:
		return fmt.Sprintf("it was refused, though the prompt has %d tokens and the model's context is %d: %s", s.Prompt, s.Context, core.Clip(a.claim.Error, 100))
	case a.claim.Finish == "length" && fits && n+n/spareShare+spareTokens/8 < most:
		return fmt.Sprintf("it ends for its length after %d tokens, of %d that were asked for", n, most)
	}
	return ""
}

// meter holds the server's counts against the reference's.
func (a *asked) meter(s *scores) string {
	over := func(claimed, counted int64) bool { return claimed > counted+counted/spareShare+spareTokens }
	u := &a.claim.Usage
	switch n := int64(len(s.Scores)); {
	case over(u.Prompt, s.Prompt):
		return fmt.Sprintf("it counts %d tokens of prompt, the reference %d", u.Prompt, s.Prompt)
	case over(u.Completion, n):
		return fmt.Sprintf("it counts %d tokens drawn, the reference %d", u.Completion, n)
	}
	return ""
}

// sort puts an answer's tokens to those drawn alike.
func (a *asked) sort(groups []*group, s *scores) error {
	d := a.line.Sampling()
	g := groups[0]
	switch {
	case d.Temperature > 0 && (d.TopK > 0 || d.TopP > 0 && d.TopP < 1 || d.MinP > 0):
		g = groups[2]
	case d.Temperature > 0:
		g = groups[1]
	}
	for i, v := range s.Scores {
		t := logprobs.Token{Margin: v[0], Logprob: v[1], Drawn: v[2], Entropy: v[3], Variance: v[4], Claimed: math.NaN()}
		if s.Told && i < len(a.told) { // not of what ended it
			t.Claimed = a.told[i]
		}
		if !(v[0] >= 0 && v[1] <= 1e-3 && v[2] <= 1e-3 && v[3] >= -1e-3 && v[4] >= 0) || math.IsInf(v[0], 0) || math.IsInf(v[3], 0) || math.IsInf(v[4], 0) {
			return fmt.Errorf("scores that no model gives: %v", v)
		}
		g.tokens = append(g.tokens, t)
	}
	return nil
}

func judge(groups []*group) Verdict {
	out := Verdict{Pass: true}
	var said []string
	for _, g := range groups {
		if len(g.tokens) == 0 {
			continue
		}
		v := logprobs.Default.Judge(g.tokens, g.draw)
		out.Judged = out.Judged || v.Judged
		out.Pass = out.Pass && v.Pass
		said = append(said, g.name+": "+v.Reason)
	}
	if len(said) == 0 {
		said = []string{"there is nothing in it to be tested"}
	}
	out.Reason = strings.Join(said, "; ")
	return out
}
