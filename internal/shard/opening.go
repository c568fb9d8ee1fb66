package shard

import (
	"github.com/go-json-experiment/json"

	"atoll/internal/llm"
	"atoll/internal/llm/grammar"
	"atoll/internal/repro"
	"atoll/internal/shard/record"
)

// Opening is what the last stage has to know of a sequence to draw its tokens.
type Opening struct {
	Sampling repro.Sampling  `json:"sampling"`
	Logprobs int             `json:"logprobs"` // −1: none
	Form     *grammar.Source `json:"form,omitempty"`
}

// openingOf tells a request.
func openingOf(r *llm.Request) ([]byte, error) {
	o := Opening{Sampling: r.Sampling, Logprobs: r.Logprobs}
	if r.Form != nil {
		s := r.Form.Source()
		o.Form = &s
	}
	return json.Marshal(&o)
}

// TermsOf are the terms of the sequence that a head opens for a request, with a model of
// so long a context.
func TermsOf(r *llm.Request, context int) (record.Terms, error) {
	opening, err := openingOf(r)
	return record.Terms{Prompt: len(r.Prompt), Limit: r.Length(context), Opening: opening}, err
}

// drawer prepares the draws that an opening asks for.
func drawer(m *llm.Model, isa repro.ISA, opening []byte) (*llm.Drawer, error) {
	var o Opening
	if err := json.Unmarshal(opening, &o, json.RejectUnknownMembers(true)); err != nil {
		return nil, malformed("an opening: %v", err)
	}
	r := llm.Request{Sampling: o.Sampling, Logprobs: o.Logprobs}
	if err := r.Sampling.Check(); err != nil || r.Logprobs < -1 || r.Logprobs > maxTop {
		return nil, malformed("an opening: %v, %d logprobs", err, r.Logprobs)
	}
	if o.Form != nil {
		var err error
		if r.Form, err = o.Form.Compile(); err != nil {
			return nil, err
		}
	}
	return m.NewDrawer(&r, isa)
}
