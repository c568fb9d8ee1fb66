package llm

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/identity"
	"atoll/internal/llm"
	"atoll/internal/llm/weights"
	"atoll/internal/peer"
	"atoll/internal/shard"
	"atoll/internal/shard/audit"
)

// accounts are what the stages say of each answer.
func accounts(answers []*answer) ([]byte, error) {
	entries := []audit.Entry{}
	for i, a := range answers {
		if a.refused == nil {
			entries = append(entries, audit.Entry{Answer: i, Stages: a.accounts})
		}
	}
	out, err := json.Marshal(entries)
	if err == nil && len(out) > audit.MaxAccounts {
		err = fmt.Errorf("%w: what the stages sign for %d answers takes %d bytes, at most %d: ask for fewer in one part", engine.ErrTooLarge, len(entries), len(out), audit.MaxAccounts)
	}
	return out, err
}

// mayAudit is shard.MemberConfig.Audit: the hub's ticket lets an auditor have rows.
func (l *lines) mayAudit(_ peer.Peer, q *shard.RowsRequest) error {
	payload, err := identity.Open(q.Ticket, audit.TicketType, l.near.Hub)
	if err != nil {
		return err
	}
	var t audit.Ticket
	if err := json.Unmarshal(payload, &t); err != nil || t.Line != q.Line || t.Sequence != q.Sequence || t.Source != l.near.Self.Node {
		return core.Errorf(core.Forbidden, "the ticket is for other rows, or for another node")
	}
	return nil
}

// audit computes one stage of an answer again.
func (in *instance) audit(ctx context.Context, input engine.Input, use *engine.Usage) ([]byte, error) {
	var q audit.Question
	if err := json.Unmarshal(input.Data, &q, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: not an audit's question: %w", engine.ErrInput, err)
	}
	f, err := in.find(ctx, &q)
	if err != nil {
		return nil, err
	}
	use.TokensIn = int64(q.Positions)
	out, err := json.Marshal(f)
	return append(out, '\n'), err
}

// find computes what the stage should have.
func (in *instance) find(ctx context.Context, q *audit.Question) (*audit.Finding, error) {
	params, err := parseParams(q.Params)
	if err != nil {
		return nil, err
	}
	lines, err := completion.Parse(q.Line, &params.Params)
	if err != nil {
		return nil, err
	}
	m, err := in.layers(ctx, q, params.profile)
	if err != nil {
		return nil, err
	}
	f := new(audit.Finding)
	s := &served{model: m}
	if f.Told, err = s.told(&lines[0], params.template, q.Tokens); err != nil || q.Last == 0 {
		return f, err
	}
	r, err := s.request(&lines[0], params.template)
	if err != nil {
		return nil, err
	}
	terms, err := shard.TermsOf(&r, m.Config.Context)
	if err != nil {
		return nil, err
	}
	fed := slices.Concat(r.Prompt, q.Tokens)
	if len(q.Tokens) == 0 || len(fed) > terms.Limit || q.Positions < 1 || q.Positions >= len(fed) {
		return nil, fmt.Errorf("%w: %d positions of a prompt of %d and %d tokens", engine.ErrInput, q.Positions, len(r.Prompt), len(q.Tokens))
	}
	var rows []byte
	if !m.HasEmbedding() {
		l := in.e.lines
		if l == nil {
			return nil, fmt.Errorf("llm: this node has no peers")
		}
		from := peer.Address{Node: q.Source.Node, Key: q.Source.Key, At: q.Source.At}
		rows, err = shard.FetchRows(ctx, l.near.Open, from, &shard.RowsRequest{Line: q.Source.Line, Sequence: q.Source.Sequence, Positions: q.Positions, Ticket: q.Source.Ticket}, m.Profile.RowsBefore(m.First, &m.Config))
		if err != nil {
			if ctx.Err() != nil {
				return nil, failed(ctx.Err())
			}
			f.Unavailable = core.Clip(err.Error(), 200)
			return f, nil
		}
	}
	st, err := shard.Recompute(ctx, shard.StageConfig{Model: m, Pool: in.e.pool}, terms, fed[:q.Positions], rows)
	if err != nil {
		return nil, failed(err)
	}
	f.Start, f.In, f.Out, f.Logits = st.Start, st.In, st.Out, st.Logits
	return f, nil
}

// told names the line that a head writes which has drawn these tokens, or which refuses
// to draw any.
func (s *served) told(l *completion.Line, template string, tokens []int32) (core.Digest, error) {
	a, err := s.retell(l, template, tokens)
	if err != nil {
		a = &answer{refused: err}
	}
	return audit.Told(a.append(nil, l.ID))
}

// retell is answer with tokens that are known. Tokens that do not end as an answer does,
// or go on after its end, give another one than they were taken from. Its error is why
// the line is refused.
func (s *served) retell(l *completion.Line, template string, tokens []int32) (*answer, error) {
	if l.Refused != nil {
		return nil, l.Refused
	}
	r, err := s.request(l, template)
	if err != nil {
		return nil, err
	}
	if err := r.Check(s.model.Config.Vocab, s.model.Config.Context); err != nil {
		return nil, failed(err)
	}
	a := &answer{prompt: len(r.Prompt), speller: s.model.Tokens}
	if len(r.Prompt)+len(tokens) == r.Length(s.model.Config.Context) {
		a.finish = "length"
	}
	text := llm.NewText(s.model.Tokens, l.Stop)
	for _, id := range tokens {
		if id < 0 || int(id) >= s.model.Config.Vocab {
			return nil, fmt.Errorf("%w: token %d; the vocabulary has %d", engine.ErrInput, id, s.model.Config.Vocab)
		}
		if stopped := a.grow(llm.Token{ID: id}, text, grown{text: func(string) {}}); stopped {
			a.finish = "stop"
			break
		}
	}
	a.text = append(a.text, text.Flush()...)
	return a, nil
}

// layers reads those that a question is about.
func (in *instance) layers(ctx context.Context, q *audit.Question, p llm.Profile) (*llm.Model, error) {
	f, err := os.Open(in.m.Path)
	if err != nil {
		return nil, fmt.Errorf("llm: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("llm: %w", err)
	}
	w, err := weights.FromGGUF("the model", f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", engine.ErrModel, err)
	}
	m, err := llm.Load(ctx, w, llm.Options{Profile: p, First: q.First, Last: max(q.Last, 1)}) // without layers to compute, the tokens' texts
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	return m, err
}
