package llm

import (
	"slices"

	"atoll/internal/core"
	"atoll/internal/llm/grammar"
	"atoll/internal/repro"
)

// Drawer draws the tokens of one answer, position after position. What it draws
// depends on the request, the logits and the position alone, but for the form,
// which has to have seen all tokens before.
type Drawer struct {
	r       *Request
	sampler *repro.Sampler
	form    *grammar.Matcher // nil: any text
}

// NewDrawer prepares the draws for a request to the model, of which the output need
// not be here.
func (m *Model) NewDrawer(r *Request, isa repro.ISA) (*Drawer, error) {
	d := &Drawer{r: r}
	var err error
	if d.sampler, err = repro.NewSampler(r.Sampling, isa); err != nil {
		return nil, err
	}
	if r.Form != nil {
		if d.form, err = grammar.NewMatcher(r.Form, m.vocabulary()); err != nil {
			return nil, core.Errorf(core.Invalid, "%w", err)
		}
	}
	return d, nil
}

// Draw draws the token at a position from its logits, which it may change.
func (d *Drawer) Draw(logits []float32, position int) (Token, error) {
	t := Token{Position: position}
	said := logits // by the model, whatever the form allows
	if d.form != nil {
		if d.r.Logprobs >= 0 {
			said = slices.Clone(logits)
		}
		if err := d.form.Mask(logits); err != nil {
			return t, core.Errorf(core.Invalid, "%w", err)
		}
	}
	id, err := d.sampler.Draw(logits, position)
	if err != nil {
		return t, err
	}
	t.ID = int32(id)
	if d.form != nil {
		if err := d.form.Accept(t.ID); err != nil {
			return t, err
		}
	}
	if d.r.Logprobs >= 0 {
		err = t.explain(said, d.r.Logprobs)
	}
	return t, err
}
