package llm

import (
	"context"
	"fmt"
	"sync"

	"atoll/internal/core"
	"atoll/internal/llm/grammar"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// Options say how and what part of a model is to be loaded.
type Options struct {
	Profile Profile // "" is Q8
	// First and Last choose the layers First ≤ i < Last; both 0 means all. The
	// embedding comes with the first layer of the model, the output with the last.
	First, Last int
	// Share chooses one member's part of each of these layers. The embedding and the
	// output are the leader's.
	Share Share
}

// Tensor is a tensor of a model and those of its rows that Load reads.
type Tensor struct {
	weights.ID
	Rows
}

// Tensors are what Load reads of a model with the configuration c.
func (o Options) Tensors(c *weights.Config) (out []Tensor, err error) {
	if o.First == 0 && o.Last == 0 {
		o.Last = c.Layers
	}
	part, err := o.Share.part(c)
	if err != nil {
		return nil, err
	}
	for _, id := range c.Tensors() {
		read := o.First <= id.Layer && id.Layer < o.Last
		switch id.Part {
		case weights.TokenEmbedding:
			read = o.Share.leads() && (o.First == 0 || o.Last == c.Layers && c.TiedEmbeddings)
		case weights.OutputNorm, weights.Output:
			read = o.Share.leads() && o.Last == c.Layers
		}
		if read {
			out = append(out, Tensor{id, part.rows(c, id.Part)})
		}
	}
	return out, nil
}

// Model is a model's weights in memory, whole or a range of its layers. It is
// immutable and may be used by several decoders.
type Model struct {
	Config      weights.Config
	Profile     Profile
	First, Last int // layers First ≤ i < Last are here
	Share       Share
	Tokens      *tokenizer.Tokenizer

	part       Part   // what of each layer is here
	embedding  linear // with the first layer, and with the last if embeddings are tied
	layers     []layer
	outputNorm []float32
	output     *linear
	rope       *repro.Rope
	magnitude  float32 // of cosines and sines; 1 but for YaRN

	vocabulary func() *grammar.Vocabulary // made when a form is first asked for
}

type layer struct {
	attnNorm, ffnNorm []float32
	q, k, v, o        linear
	qNorm, kNorm      []float32 // of each head, or nil
	gate, up, down    linear
	requantised       bool // what goes in is, by the profile, and comes from the layer before here
}

// Load reads weights into memory, as much of them as asked for and no more. Its
// errors name the tensor.
func Load(ctx context.Context, f *weights.Model, o Options) (*Model, error) {
	c := f.Config
	if o.First == 0 && o.Last == 0 {
		o.Last = c.Layers
	}
	if o.First < 0 || o.First >= o.Last || o.Last > c.Layers {
		return nil, core.Errorf(core.Invalid, "layers %d to %d of %d: want a range within them", o.First, o.Last, c.Layers)
	}
	p, err := ParseProfile(string(o.Profile))
	if err != nil {
		return nil, core.Errorf(core.Invalid, "%w", err)
	}
	if err := p.Check(&c); err != nil {
		return nil, core.Errorf(core.Invalid, "%s: %w", f.Path, err)
	}
	m := &Model{Config: c, Profile: p, First: o.First, Last: o.Last, Share: o.Share}
	if m.part, err = o.Share.part(&c); err != nil {
		return nil, err
	}
	if m.Tokens, err = tokenizer.New(f.Vocab); err != nil {
		return nil, err
	}
	m.vocabulary = sync.OnceValue(m.newVocabulary)
	if err := m.loadRope(); err != nil {
		return nil, core.Errorf(core.Invalid, "%s: %w", f.Path, err)
	}
	r := reader{ctx: ctx, f: f, p: p, part: &m.part}
	if m.HasEmbedding() || m.HasOutput() && c.TiedEmbeddings {
		m.embedding = r.linear(weights.ID{Part: weights.TokenEmbedding})
	}
	for i := o.First; i < o.Last && r.err == nil; i++ {
		m.layers = append(m.layers, r.layer(i, &c))
		m.layers[i-o.First].requantised = i > o.First && p.RowsBefore(i, &c).int8
	}
	if m.HasOutput() {
		m.outputNorm = r.vector(weights.ID{Part: weights.OutputNorm})
		if m.output = &m.embedding; !c.TiedEmbeddings {
			l := r.linear(weights.ID{Part: weights.Output})
			m.output = &l
		}
	}
	return m, r.err
}

// HasEmbedding reports whether the model's first layer is here, which takes tokens;
// other ranges, and the shares of a team's followers, take hidden states.
func (m *Model) HasEmbedding() bool { return m.First == 0 && m.Share.leads() }

// HasOutput reports whether the model's last layer is here, which gives logits; a
// follower's share of it gives none.
func (m *Model) HasOutput() bool { return m.Last == m.Config.Layers && m.Share.leads() }

// lookup writes the embeddings of tokens to dst, a row of Config.Dim elements each: the
// hidden states that the first layer begins with. HasEmbedding must be true.
func (m *Model) lookup(dst []float32, tokens []int32) error {
	dim := m.Config.Dim
	for i, token := range tokens {
		if token < 0 || int(token) >= m.Config.Vocab {
			return fmt.Errorf("token %d of %d", token, m.Config.Vocab)
		}
		m.embedding.row(dst[i*dim:(i+1)*dim], int(token))
	}
	return nil
}

func (m *Model) loadRope() (err error) {
	freq, magnitude := m.Config.RoPE.Frequencies()
	m.magnitude = float32(magnitude)
	style := repro.Pairs
	if m.Config.RoPE.Style == weights.Halves {
		style = repro.Halves
	}
	m.rope, err = repro.NewRope(freq, style)
	return err
}

// reader loads one tensor after another and keeps the first error.
type reader struct {
	ctx  context.Context
	f    *weights.Model
	p    Profile
	part *Part
	err  error
}

func (r *reader) linear(id weights.ID) (l linear) {
	t := r.tensor(id)
	if r.err != nil {
		return l
	}
	if l, r.err = loadLinear(r.ctx, t, r.part.rows(&r.f.Config, id.Part), r.p); r.err != nil {
		r.err = fmt.Errorf("%s: load %v: %w", r.f.Path, id, r.err)
	}
	return l
}

func (r *reader) vector(id weights.ID) []float32 {
	t := r.tensor(id)
	if r.err != nil {
		return nil
	}
	v := make([]float32, t.Cols)
	r.err = t.ReadRows(v, 0, 1)
	return v
}

// some is a piece of a vector.
func (r *reader) some(id weights.ID, of Rows) []float32 {
	v := r.vector(id)
	if r.err != nil {
		return nil
	}
	return v[of.First:of.Last]
}

func (r *reader) tensor(id weights.ID) (t *weights.Tensor) {
	if r.err == nil {
		t, r.err = r.f.Tensor(id)
	}
	return t
}

func (r *reader) layer(i int, c *weights.Config) (l layer) {
	at := func(p weights.Part) weights.ID { return weights.ID{Part: p, Layer: i} }
	l.attnNorm, l.ffnNorm = r.vector(at(weights.AttnNorm)), r.vector(at(weights.FFNNorm))
	l.q, l.k, l.v, l.o = r.linear(at(weights.AttnQ)), r.linear(at(weights.AttnK)), r.linear(at(weights.AttnV)), r.linear(at(weights.AttnOut))
	if c.QKVBias {
		q, k := r.part.queries(c), r.part.keys(c)
		l.q.bias, l.k.bias, l.v.bias = r.some(at(weights.AttnQBias), q), r.some(at(weights.AttnKBias), k), r.some(at(weights.AttnVBias), k)
	}
	if c.QKNorm {
		l.qNorm, l.kNorm = r.vector(at(weights.AttnQNorm)), r.vector(at(weights.AttnKNorm))
	}
	l.gate, l.up, l.down = r.linear(at(weights.FFNGate)), r.linear(at(weights.FFNUp)), r.linear(at(weights.FFNDown))
	return l
}

// newVocabulary prepares the tokens for forms. Of control tokens only those that
// end an answer can come under one.
func (m *Model) newVocabulary() *grammar.Vocabulary {
	vocab := m.Tokens.Vocab()
	pieces := make([][]byte, len(vocab.Tokens))
	for id, t := range vocab.Tokens {
		if t.Kind == tokenizer.Normal || t.Kind == tokenizer.User || t.Kind == tokenizer.Byte {
			pieces[id] = m.Tokens.Bytes(int32(id))
		}
	}
	return grammar.NewVocabulary(pieces, vocab.Stop)
}
