package llm

import (
	"fmt"
	"math"

	"atoll/internal/repro"
)

// DecoderConfig bounds what a decoder holds.
type DecoderConfig struct {
	Pages   int // of keys and values, repro.PagePositions positions each
	Batch   int // positions computed at once, at most
	Context int // the longest sequence, in positions; at most the model's
	// Hidden asks for hidden states after the output's norm in place of logits.
	Hidden bool
	// Team is how the members of a team come together, of which the model is a share.
	Team Gatherer
}

// Decoder computes with a model: positions of several sequences go through all
// its layers together. It owns keys and values, in pages that the caller hands
// out (see Cache), and the room to compute in; use one at a time.
type Decoder struct {
	m    *Model
	c    DecoderConfig
	pool *repro.Pool
	team *team       // nil: the layers are computed here alone
	kv   []*repro.KV // for each layer
	att  *repro.Attention
	acts map[int]*repro.Activations // by their length

	// A row for each position of a batch. Those of x and h are whole; the others are as
	// long as what is computed here of them: wide, narrow and ffn elements.
	x, h, q, k, v, a, gate, up []float32
	wide, narrow, ffn          int
	angles                     []float32
	spans                      []repro.Span
	logits                     []float32
}

// Span is consecutive positions of one sequence that are computed together. All
// positions before First have been through this decoder and are in Pages.
type Span struct {
	Pages  []int32 // of the whole sequence, from position 0; room for First + N
	First  int     // position of the first
	Tokens []int32 // what stands there, if the model has its embedding here
	// Hidden are rows of Config.Dim elements that the layer before gave, if it has
	// not: restored from what Profile.RowsBefore makes of them.
	Hidden []float32
	// Want is for how many of the last positions a result is asked for.
	Want int
}

func (s *Span) positions(dim int) int { return max(len(s.Tokens), len(s.Hidden)/dim) }

// NewDecoder makes room. The pool may be shared; it does one thing at a time.
func NewDecoder(m *Model, pool *repro.Pool, c DecoderConfig) (*Decoder, error) {
	g := &m.Config
	if c.Context < 1 || c.Context > g.Context || c.Batch < 1 || c.Pages < 1 {
		return nil, fmt.Errorf("decoder for %d positions at once in %d pages, sequences of %d: want at least one each, and no longer sequences than the model's %d", c.Batch, c.Pages, c.Context, g.Context)
	}
	part := &m.part
	d := &Decoder{m: m, c: c, pool: pool, acts: map[int]*repro.Activations{}, wide: part.queries(g).Len(), narrow: part.keys(g).Len(), ffn: part.FFN.Len()}
	var err error
	if d.team, err = newTeam(m, &c); err != nil {
		return nil, err
	}
	if d.att, err = repro.NewAttention(repro.AttentionConfig{
		Heads: d.wide / g.HeadDim, KVHeads: part.KVHeads.Len(), Dim: g.HeadDim, Scale: scale(g.HeadDim), Window: g.Window, Context: c.Context,
	}, pool.Threads()); err != nil {
		return nil, err
	}
	for range m.layers {
		kv, err := repro.NewKV(part.KVHeads.Len(), g.HeadDim, c.Pages, m.Profile.cache())
		if err != nil {
			return nil, err
		}
		d.kv = append(d.kv, kv)
	}
	for _, cols := range []int{g.Dim, g.Heads * g.HeadDim, g.FFN} {
		if m.Profile.quantised(cols) && d.acts[cols] == nil {
			if d.acts[cols], err = repro.NewActivations(cols, c.Batch); err != nil {
				return nil, err
			}
		}
	}
	rows := func(n int) []float32 { return make([]float32, c.Batch*n) }
	d.x, d.h, d.q, d.a = rows(g.Dim), rows(g.Dim), rows(d.wide), rows(d.wide)
	d.k, d.v = rows(d.narrow), rows(d.narrow)
	d.gate, d.up = rows(d.ffn), rows(d.ffn)
	d.angles = rows(m.rope.Dims())
	return d, nil
}

// scale is RN(1/√n), the square root in binary64, which is exact enough to make
// the result the same everywhere (IEEE 754 rounds both correctly).
func scale(n int) float32 { return float32(1 / math.Sqrt(float64(n))) }

// Forward takes all positions of the spans through the layers and stores their
// keys and values. It returns a row for each position that was asked for, span
// after span: logits if the model has its output here, else hidden states. The
// rows are valid until the next call. After an error nothing is known of the
// positions computed, but those before are untouched.
func (d *Decoder) Forward(spans []Span) ([]float32, error) {
	n, err := d.begin(spans)
	if err != nil {
		return nil, err
	}
	for i := range d.m.layers {
		if d.m.layers[i].requantised {
			if err := requantise(d.x[:n*d.m.Config.Dim]); err != nil {
				return nil, fmt.Errorf("before layer %d: %w", d.m.First+i, err)
			}
		}
		if err := d.layer(i, n, spans); err != nil {
			return nil, fmt.Errorf("layer %d: %w", d.m.First+i, err)
		}
	}
	return d.finish(spans)
}

// begin checks the spans, writes the first hidden states to d.x and the angles of
// all positions, and returns their number.
func (d *Decoder) begin(spans []Span) (n int, err error) {
	g, dims := &d.m.Config, d.m.rope.Dims()
	d.spans = d.spans[:0]
	for i := range spans {
		s := &spans[i]
		k := s.positions(g.Dim)
		switch {
		case k < 1 || s.Want < 0 || s.Want > k || s.First < 0 || s.First+k > d.c.Context:
			return 0, fmt.Errorf("span %d: %d positions from %d on, %d results: want at least one position, within %d", i, k, s.First, s.Want, d.c.Context)
		case n+k > d.c.Batch:
			return 0, fmt.Errorf("%d positions or more at once: at most %d", n+k, d.c.Batch)
		case len(s.Pages)*repro.PagePositions < s.First+k:
			return 0, fmt.Errorf("span %d: %d pages for %d positions", i, len(s.Pages), s.First+k)
		case d.m.HasEmbedding() != (s.Hidden == nil) || len(s.Hidden)%g.Dim != 0:
			return 0, fmt.Errorf("span %d: layers from %d on take %s", i, d.m.First, map[bool]string{true: "tokens", false: "hidden states"}[d.m.HasEmbedding()])
		}
		copy(d.x[n*g.Dim:], s.Hidden)
		if err := d.m.lookup(d.x[n*g.Dim:], s.Tokens); err != nil {
			return 0, fmt.Errorf("span %d: %w", i, err)
		}
		for j := range k {
			angles := d.angles[(n+j)*dims : (n+j+1)*dims]
			if err := d.m.rope.Angles(angles, s.First+j); err != nil {
				return 0, err
			}
			for a := range angles {
				angles[a] = float32(angles[a] * d.m.magnitude)
			}
		}
		d.spans = append(d.spans, repro.Span{Pages: s.Pages, First: s.First, N: k})
		n += k
	}
	return n, nil
}

// operand prepares vectors of so many elements to be multiplied.
func (d *Decoder) operand(x []float32, cols int) (operand, error) {
	a := d.acts[cols]
	if a == nil {
		return operand{x: x}, nil
	}
	return operand{x, a}, a.Set(x, d.pool)
}

func (d *Decoder) layer(i, n int, spans []Span) error {
	l, g := &d.m.layers[i], &d.m.Config
	x, h := d.x[:n*g.Dim], d.h[:n*g.Dim]
	if err := d.attend(i, n, spans); err != nil {
		return err
	}
	a, err := d.inputs(d.a[:n*d.wide], g.Heads*g.HeadDim, func(p *Part) Rows { return p.queries(g) })
	if err != nil {
		return fmt.Errorf("attention: %w", err)
	}
	if err := d.outputs(h, &l.o, a); err != nil {
		return fmt.Errorf("attention: %w", err)
	}
	repro.Add(x, h, d.pool)

	if err := repro.RMSNorm(h, x, l.ffnNorm, g.NormEps, d.pool); err != nil {
		return fmt.Errorf("feed-forward: %w", err)
	}
	in, err := d.operand(h, g.Dim)
	if err != nil {
		return fmt.Errorf("feed-forward: %w", err)
	}
	gate, up := d.gate[:n*d.ffn], d.up[:n*d.ffn]
	l.gate.mul(gate, in, d.pool)
	l.up.mul(up, in, d.pool)
	repro.SwiGLU(gate, gate, up, d.pool)
	if in, err = d.inputs(gate, g.FFN, func(p *Part) Rows { return p.FFN }); err != nil {
		return fmt.Errorf("feed-forward: %w", err)
	}
	if err := d.outputs(h, &l.down, in); err != nil {
		return fmt.Errorf("feed-forward: %w", err)
	}
	repro.Add(x, h, d.pool)
	return nil
}

// attend sets d.a to the attention of layer i.
func (d *Decoder) attend(i, n int, spans []Span) error {
	l, g := &d.m.layers[i], &d.m.Config
	x, h := d.x[:n*g.Dim], d.h[:n*g.Dim]
	wide, narrow := d.wide, d.narrow
	q, k, v := d.q[:n*wide], d.k[:n*narrow], d.v[:n*narrow]
	if err := repro.RMSNorm(h, x, l.attnNorm, g.NormEps, d.pool); err != nil {
		return err
	}
	in, err := d.operand(h, g.Dim)
	if err != nil {
		return err
	}
	l.q.mul(q, in, d.pool)
	l.k.mul(k, in, d.pool)
	l.v.mul(v, in, d.pool)
	if l.qNorm != nil {
		if err := repro.RMSNorm(q, q, l.qNorm, g.NormEps, d.pool); err != nil {
			return fmt.Errorf("queries: %w", err)
		}
		if err := repro.RMSNorm(k, k, l.kNorm, g.NormEps, d.pool); err != nil {
			return fmt.Errorf("keys: %w", err)
		}
	}
	dims, row := d.m.rope.Dims(), 0
	for s := range spans {
		for j := range d.spans[s].N {
			angles := d.angles[row*dims : (row+1)*dims]
			d.m.rope.Rotate(q[row*wide:(row+1)*wide], g.HeadDim, angles)
			d.m.rope.Rotate(k[row*narrow:(row+1)*narrow], g.HeadDim, angles)
			at := spans[s].First + j
			page, slot := spans[s].Pages[at/repro.PagePositions], at%repro.PagePositions
			if err := d.kv[i].Put(int(page), slot, k[row*narrow:(row+1)*narrow], v[row*narrow:(row+1)*narrow]); err != nil {
				return err
			}
			row++
		}
	}
	return d.att.Run(d.a[:n*wide], q, d.kv[i], d.spans, d.pool)
}

// finish gathers the rows that are asked for and makes logits of them where the
// output is here.
func (d *Decoder) finish(spans []Span) ([]float32, error) {
	g := &d.m.Config
	want, row := 0, 0
	for i := range spans {
		row += d.spans[i].N
		w := spans[i].Want
		copy(d.h[want*g.Dim:(want+w)*g.Dim], d.x[(row-w)*g.Dim:row*g.Dim])
		want += w
	}
	h := d.h[:want*g.Dim]
	if !d.m.HasOutput() || want == 0 {
		return h, nil
	}
	if err := repro.RMSNorm(h, h, d.m.outputNorm, g.NormEps, d.pool); err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	if d.c.Hidden {
		return h, nil
	}
	in, err := d.operand(h, g.Dim)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	if n := want * g.Vocab; cap(d.logits) < n {
		d.logits = make([]float32, n)
	}
	logits := d.logits[:want*g.Vocab]
	d.m.output.mul(logits, in, d.pool)
	return logits, nil
}
