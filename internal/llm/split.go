package llm

import (
	"atoll/internal/core"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// Rows are the outputs First ≤ i < Last of a product.
type Rows struct{ First, Last int }

// Len is how many there are.
func (r Rows) Len() int { return r.Last - r.First }

// times is the rows that there are if each stands for n.
func (r Rows) times(n int) Rows { return Rows{r.First * n, r.Last * n} }

// Part is what one member of a team computes of each layer.
type Part struct {
	KVHeads Rows // of keys and values, each with the queries that ask it
	FFN     Rows // of what is inside the feed-forward
	Dim     Rows // of what attention and feed-forward add to the residual stream
}

// queries are the elements of the queries' heads, and of what attention gives.
func (p *Part) queries(c *weights.Config) Rows {
	return p.KVHeads.times(c.Heads / c.KVHeads * c.HeadDim)
}

// keys are the elements of the keys', and of the values'.
func (p *Part) keys(c *weights.Config) Rows { return p.KVHeads.times(c.HeadDim) }

// rows are those of a tensor's rows that the part is computed with.
func (p *Part) rows(c *weights.Config, of weights.Part) Rows {
	switch of {
	case weights.AttnQ:
		return p.queries(c)
	case weights.AttnK, weights.AttnV:
		return p.keys(c)
	case weights.AttnOut, weights.FFNDown:
		return p.Dim
	case weights.FFNGate, weights.FFNUp:
		return p.FFN
	}
	all, _ := c.Shape(of)
	return Rows{0, all}
}

// whole is all of each layer.
func whole(c *weights.Config) Part {
	return Part{KVHeads: Rows{0, c.KVHeads}, FFN: Rows{0, c.FFN}, Dim: Rows{0, c.Dim}}
}

// Share is the part of one member of a team, which computes layers together: each
// member some outputs of every product, which are then brought together; see Gatherer.
// No sum is ever divided, so the bits are those of one machine. The zero Share is all.
type Share struct {
	Speeds []int // of the members, in any unit; see Split
	Member int   // of them; 0 leads
}

// Bounds of a team.
const (
	MaxMembers = 8
	MaxSpeed   = 1 << 20
)

// leads reports whether what a layer has but once is here: the embedding and the output.
func (s Share) leads() bool { return s.Member == 0 }

func (s Share) part(c *weights.Config) (Part, error) {
	if s.Speeds == nil && s.Member == 0 {
		return whole(c), nil
	}
	parts, err := Split(c, s.Speeds)
	if err != nil {
		return Part{}, err
	}
	if s.Member < 0 || s.Member >= len(parts) {
		return Part{}, core.Errorf(core.Invalid, "member %d of a team of %d", s.Member, len(parts))
	}
	return parts[s.Member], nil
}

// Split divides the layers of a model among the members of a team, in proportion to
// their speeds and in the same way wherever it is asked. What goes into a quantised
// product is divided between blocks of 32, so that each is quantised where it is
// computed, by rule 8 of package repro. A model with fewer such pieces than members
// cannot be divided.
func Split(c *weights.Config, speeds []int) ([]Part, error) {
	if len(speeds) < 2 || len(speeds) > MaxMembers {
		return nil, core.Errorf(core.Invalid, "a team of %d nodes: want 2 to %d", len(speeds), MaxMembers)
	}
	for _, s := range speeds {
		if s < 1 || s > MaxSpeed {
			return nil, core.Errorf(core.Invalid, "a speed of %d: want 1 to %d", s, MaxSpeed)
		}
	}
	heads := 1 // of keys whose queries end at a block's end
	for heads*c.Heads/c.KVHeads*c.HeadDim%repro.BlockSize != 0 {
		heads *= 2
	}
	parts := make([]Part, len(speeds))
	for _, d := range []struct {
		what    string
		n, unit int
		rows    func(*Part) *Rows
	}{
		{"heads of keys", c.KVHeads, heads, func(p *Part) *Rows { return &p.KVHeads }},
		{"rows of feed-forward", c.FFN, repro.BlockSize, func(p *Part) *Rows { return &p.FFN }},
		{"rows", c.Dim, repro.BlockSize, func(p *Part) *Rows { return &p.Dim }},
	} {
		units := (d.n + d.unit - 1) / d.unit
		if units < len(speeds) {
			return nil, core.Errorf(core.Invalid, "%d %s, which are divided in multiples of %d, are too few for %d nodes", d.n, d.what, d.unit, len(speeds))
		}
		at := 0
		for i, k := range divide(units, speeds) {
			*d.rows(&parts[i]) = Rows{min(at*d.unit, d.n), min((at+k)*d.unit, d.n)}
			at += k
		}
	}
	return parts, nil
}

// divide gives each member one of n units, and every further one to whom it makes the
// least late.
func divide(n int, speeds []int) []int {
	out := make([]int, len(speeds))
	for i := range out {
		out[i] = 1
	}
	for range n - len(speeds) {
		best := 0
		for i := range speeds {
			if (out[i]+1)*speeds[best] < (out[best]+1)*speeds[i] {
				best = i
			}
		}
		out[best]++
	}
	return out
}

// Shares are the parts of a layer's weights that the members of a team hold, and so about
// of the time that it takes, in the order of their speeds.
func (p Profile) Shares(c *weights.Config, speeds []int) ([]float64, error) {
	parts, err := Split(c, speeds)
	if err != nil {
		return nil, err
	}
	all := whole(c)
	out := make([]float64, len(parts))
	for i := range parts {
		out[i] = float64(p.layerBytes(c, &parts[i])) / float64(p.layerBytes(c, &all))
	}
	return out, nil
}

// layerBytes is what a part of a layer's matrices takes.
func (p Profile) layerBytes(c *weights.Config, part *Part) (n int64) {
	for id := weights.AttnNorm; id <= weights.FFNDown; id++ {
		if rows, cols := c.Shape(id); rows > 1 {
			n += p.WeightBytes(part.rows(c, id).Len(), cols)
		}
	}
	return n
}

// PartBytes is how much a team brings together of one position in a layer, all members'
// parts.
func (p Profile) PartBytes(c *weights.Config) int64 {
	n := 2 * floats(nil).bytes(c.Dim)
	for _, cols := range []int{c.Heads * c.HeadDim, c.FFN} {
		if p.quantised(cols) {
			n += blocks{}.bytes(cols)
		} else {
			n += floats(nil).bytes(cols)
		}
	}
	return int64(n)
}
