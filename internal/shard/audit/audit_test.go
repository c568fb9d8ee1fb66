package audit

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/identity"
	"atoll/internal/shard/charter"
	"atoll/internal/shard/record"
)

// troupe are three nodes that have computed an answer of so many tokens after a prompt
// of five, each two layers.
type troupe struct {
	t      testing.TB
	keys   map[core.NodeID]*identity.Key
	line   Line
	tokens []int32
	says   []*record.Statement
}

func newTroupe(t testing.TB, tokens int) *troupe {
	t.Helper()
	p := &troupe{t: t, keys: map[core.NodeID]*identity.Key{}}
	for _, n := range []core.NodeID{"a", "b", "c", "z"} {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		p.keys[n] = key
	}
	p.line = Line{ID: charter.ID{1}, Model: core.DigestOf([]byte("m")), Head: "a", Layers: 6, Answers: 1, Key: func(n core.NodeID) (identity.PublicKey, bool) {
		k := p.keys[n]
		if k == nil {
			return identity.PublicKey{}, false
		}
		return k.Public(), true
	}}
	const prompt = 5
	terms := record.Terms{Prompt: prompt, Limit: 400, Opening: []byte("{}")}
	computed := prompt + tokens - 1
	fed, drawn, logits := record.New(terms.Start()), record.New(terms.Start()), record.New(terms.Start())
	for i := range computed {
		fed.Token(int32(i))
	}
	for i := range tokens {
		p.tokens = append(p.tokens, int32(100+i))
		drawn.Token(int32(100 + i))
		logits.Logits(uint64(i))
	}
	between := func(seed float32) *record.Chain {
		c := record.New(terms.Start())
		for i := range computed {
			c.Rows([]byte{byte(seed), byte(i)}, 1)
		}
		return c
	}
	links := [][]core.Digest{fed.Links(computed), between(1).Links(computed), between(2).Links(computed), drawn.Links(tokens)}
	for i, n := range []core.NodeID{"a", "b", "c"} {
		s := &record.Statement{Line: p.line.ID, Sequence: 7, Node: n, Model: p.line.Model, Profile: "q8", First: 2 * i, Last: 2*i + 2, Start: terms.Start(), Prompt: prompt, Computed: computed, In: slices.Clone(links[i]), Out: slices.Clone(links[i+1])}
		if i == 2 {
			s.Logits = logits.Links(tokens)
		}
		p.says = append(p.says, s)
	}
	return p
}

// result and accounts are what a hub gets.
func (p *troupe) result() []byte {
	b, err := json.Marshal(map[string]any{"id": 0, "text": "x", "tokens": p.tokens})
	if err != nil {
		p.t.Fatal(err)
	}
	return append(b, '\n')
}

func (p *troupe) accounts(seal func(*record.Statement) core.NodeID) []byte {
	e := Entry{Answer: 0}
	for _, s := range p.says {
		who := s.Node
		if seal != nil {
			who = seal(s)
		}
		sealed, err := record.Seal(s, p.keys[who].Seal)
		if err != nil {
			p.t.Fatal(err)
		}
		e.Stages = append(e.Stages, record.Signed{Node: s.Node, Statement: sealed})
	}
	b, err := json.Marshal([]Entry{e})
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *troupe) read() ([]Answer, error) { return Read(p.result(), p.accounts(nil), &p.line) }

func (p *troupe) mustRead() []Answer {
	p.t.Helper()
	answers, err := p.read()
	if err != nil {
		p.t.Fatal(err)
	}
	return answers
}

var other = core.DigestOf([]byte("other"))

// What does not fit together is refused, whoever is to blame.
func TestRead(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, 80)
	answers := p.mustRead()
	if len(answers) != 1 || len(answers[0].Stages) != 3 || answers[0].Stages[2].Drawn() != 80 {
		t.Fatalf("%+v", answers)
	}
	if s := Shares(answers); len(s) != 3 || s[0].Work != 2*84 || s[2].Node != "c" {
		t.Errorf("%+v", s)
	}
	for _, d := range []struct {
		work   int64
		speeds []int
		want   []int64
	}{{100, []int{1}, []int64{100}}, {100, []int{1, 1, 1}, []int64{34, 33, 33}}, {7, []int{1, 1000}, []int64{1, 6}}, {math.MaxInt64, []int{1, 3}, []int64{math.MaxInt64 - math.MaxInt64/4*3 - 2, math.MaxInt64/4*3 + 2}}} {
		if got := Divide(d.work, d.speeds); !slices.Equal(got, d.want) {
			t.Errorf("%d by %v: %v, want %v", d.work, d.speeds, got, d.want)
		}
	}
	for name, change := range map[string]func(*troupe){
		"a token changed":           func(p *troupe) { p.tokens[40]++ },
		"a token more":              func(p *troupe) { p.tokens = append(p.tokens, 1) },
		"no tokens":                 func(p *troupe) { p.tokens = nil },
		"a token less":              func(p *troupe) { p.tokens = p.tokens[1:] },
		"a stage is missing":        func(p *troupe) { p.says = slices.Delete(p.says, 1, 2) },
		"layers are missing":        func(p *troupe) { p.says[2].First = 5 },
		"the last layer is missing": func(p *troupe) { p.line.Layers = 7 },
		"sent is not received":      func(p *troupe) { p.says[0].Out[0] = other },
		"received is not sent":      func(p *troupe) { p.says[2].In[1] = other },
		"another sequence":          func(p *troupe) { p.says[1].Sequence = 8 },
		"another model":             func(p *troupe) { p.says[1].Model = other },
		"another line":              func(p *troupe) { p.says[1].Line = charter.ID{9} },
		"other terms":               func(p *troupe) { p.says[1].Start = other },
		"no logits":                 func(p *troupe) { p.says[2].Logits = nil },
		"an answer is missing":      func(p *troupe) { p.line.Answers = 2 },
		"a stranger": func(p *troupe) {
			p.says[1].Node = "nobody"
			p.keys["nobody"] = p.keys["z"]
			p.line.Key = func(core.NodeID) (identity.PublicKey, bool) { return identity.PublicKey{}, false }
		},
	} {
		p := newTroupe(t, 80)
		change(p)
		if _, err := p.read(); core.KindOf(err) != core.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(p.result(), p.accounts(func(*record.Statement) core.NodeID { return "z" }), &p.line); !errors.Is(err, identity.ErrOtherSeal) {
		t.Errorf("signed by another: %v", err)
	}
	if _, err := Read(p.result(), []byte("[]"), &p.line); err == nil {
		t.Error("nobody accounts for it, and that is taken")
	}
	if answers, err := Read([]byte(`{"id":0,"error":"too long"}`+"\n"), []byte("[]"), &p.line); err != nil || len(answers) != 1 || answers[0].Stages != nil {
		t.Errorf("a refusal: %v", err)
	}
	if _, err := Read([]byte(`{"id":0,"error":"too long","tokens":[1]}`+"\n"), []byte("[]"), &p.line); err == nil {
		t.Error("a refusal with tokens")
	}
}

var input = engine.Input{Data: []byte(`{"prompt":"Once","max_tokens":80}` + "\n"), Params: map[string]string{"temperature": "1"}}

func ask(t testing.TB, answers []Answer, stage int, prefix uint64, span int) *Question {
	t.Helper()
	var lot Lot
	lot[15] = byte(stage)
	lot[23] = byte(prefix)
	q, err := Ask(input, answers, lot, span)
	if err != nil || q.Stage != stage || string(q.Line) != `{"prompt":"Once","max_tokens":80}` {
		t.Fatalf("%+v, %v", q, err)
	}
	return q
}

// finding is what an auditor finds who computes rightly.
func (p *troupe) finding(q *Question) *Finding {
	s := p.says[q.Stage]
	n := len(s.In)
	if q.Positions < s.Computed {
		n = q.Positions / record.Every
	}
	told, err := Told(p.result())
	if err != nil {
		p.t.Fatal(err)
	}
	return &Finding{Start: s.Start, In: s.In[:n], Out: s.Out[:min(n, len(s.Out))], Logits: s.Logits, Told: told}
}

func judge(t testing.TB, q *Question, answers []Answer, f *Finding) Verdict {
	t.Helper()
	said, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Judge(q, answers, said)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Every stage passes that has said what an auditor finds, whole or in its beginning, and
// who has said something else is named.
func TestJudge(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, 200)
	answers := p.mustRead()
	for stage, who := range []core.NodeID{"a", "b", "c"} {
		for prefix := range uint64(5) {
			for _, span := range []int{0, 10, 100, 1000} {
				q := ask(t, answers, stage, prefix, span)
				if q.Positions < min(span, p.says[stage].Computed) || span == 0 && q.Positions != p.says[stage].Computed {
					t.Fatalf("%d positions for a span of %d", q.Positions, span)
				}
				if v := judge(t, q, answers, p.finding(q)); !v.Pass {
					t.Fatalf("stage %d, span %d: %+v", stage, span, v)
				}
				f := p.finding(q)
				f.Out = slices.Clone(f.Out)
				f.Out[len(f.Out)-1] = other
				if v := judge(t, q, answers, f); v.Pass || v.Blame != who {
					t.Errorf("stage %d, span %d, %d positions: other rows came of it: %+v", stage, span, q.Positions, v)
				}
			}
		}
		q := ask(t, answers, stage, 0, 0)
		f := p.finding(q)
		f.In = append([]core.Digest{other}, f.In[1:]...)
		if v := judge(t, q, answers, f); v.Pass || v.Blame != []core.NodeID{"a", "a", "b"}[stage] {
			t.Errorf("stage %d: other rows went in: %+v", stage, v)
		}
		f = p.finding(q)
		f.Start = other
		if v := judge(t, q, answers, f); v.Pass || v.Blame != "a" {
			t.Errorf("stage %d: other terms: %+v", stage, v)
		}
		if v := judge(t, q, answers, &Finding{Unavailable: "gone"}); !v.Pass || !strings.Contains(v.Reason, "could not") {
			t.Errorf("stage %d: %+v", stage, v)
		}
	}
	q := ask(t, answers, 2, 0, 0)
	f := p.finding(q)
	f.Logits = append([]core.Digest{other}, f.Logits[1:]...)
	if v := judge(t, q, answers, f); v.Pass || v.Blame != "c" {
		t.Errorf("the same tokens of other logits: %+v", v)
	}
	f = p.finding(q)
	f.Told = other
	if v := judge(t, q, answers, f); v.Pass || v.Blame != "a" {
		t.Errorf("the head has written something else: %+v", v)
	}
	for _, said := range []string{"", "{}", "[1]", `{"start":1}`, `{"more":1}`} {
		if _, err := Judge(q, answers, []byte(said)); err == nil {
			t.Errorf("%q is taken for a finding", said)
		}
	}
}

// Who refuses what could be answered, and so computes nothing, is found like any other.
func TestRefusal(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, 80)
	line := []byte(`{"id":0,"error":"I would rather not"}` + "\n")
	answers, err := Read(line, []byte("[]"), &p.line)
	if err != nil {
		t.Fatal(err)
	}
	q, err := Ask(input, answers, Lot{}, 16)
	if err != nil || q.Last != 0 || q.Line == nil {
		t.Fatalf("%+v, %v", q, err)
	}
	told, err := Told(line)
	if err != nil {
		t.Fatal(err)
	}
	if v := judge(t, q, answers, &Finding{Told: told}); !v.Pass {
		t.Errorf("it was right: %+v", v)
	}
	if v := judge(t, q, answers, &Finding{Told: other}); v.Pass || v.Blame != "a" {
		t.Errorf("it was wrong: %+v", v)
	}
}

// The lot picks each stage, and each length from the span on.
func TestAsk(t *testing.T) {
	t.Parallel()
	answers := newTroupe(t, 300).mustRead()
	stages, lengths := map[int]bool{}, map[int]bool{}
	for i := range 200 {
		q, err := Ask(input, answers, Lot(core.DigestOf(fmt.Appendf(nil, "%d", i))), 100)
		if err != nil {
			t.Fatal(err)
		}
		stages[q.Stage] = true
		if q.Stage < 2 {
			lengths[q.Positions] = true
		}
	}
	if len(stages) != 3 || len(lengths) != 4 { // 128, 192, 256, 304
		t.Errorf("stages %v, lengths %v", stages, lengths)
	}
	if _, err := Ask(input, nil, Lot{}, 0); err == nil {
		t.Error("a question about nothing")
	}
}

// What strangers send is read without harm.
func FuzzRead(f *testing.F) {
	p := newTroupe(f, 80)
	f.Add(p.result(), p.accounts(nil))
	f.Add([]byte(`{"tokens":[1]}`), []byte(`[{"answer":0,"stages":[{"node":"a","statement":"AAAA"}]}]`))
	f.Fuzz(func(t *testing.T, result, accounts []byte) {
		answers, err := Read(result, accounts, &p.line)
		if err == nil && len(answers) > 0 && len(answers[0].Stages) > 0 && answers[0].Stages[0].Node != "a" {
			t.Errorf("%+v", answers)
		}
	})
}

func FuzzJudge(f *testing.F) {
	p := newTroupe(f, 80)
	answers := p.mustRead()
	q := ask(f, answers, 1, 0, 0)
	said, err := json.Marshal(p.finding(q))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(said)
	f.Fuzz(func(t *testing.T, said []byte) {
		if v, err := Judge(q, answers, said); err == nil && v.Pass && v.Blame != "" {
			t.Errorf("%+v", v)
		}
	})
}
