package llm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// table is where the members of a team in this process meet: from[i][j] brings member
// j what i has.
type table struct {
	from   [][]chan []byte
	member int
	mix    bool // the others' parts come back in another order
}

func newTables(n int) []*table {
	from := make([][]chan []byte, n)
	out := make([]*table, n)
	for i := range from {
		out[i] = &table{from: from, member: i}
		for range n {
			from[i] = append(from[i], make(chan []byte, 1))
		}
	}
	return out
}

func (t *table) Gather(mine []byte, _ []int) ([][]byte, error) {
	mine = bytes.Clone(mine) // the others may read it after the next call
	for _, to := range t.from[t.member] {
		to <- mine
	}
	var all [][]byte
	for i := range t.from {
		all = append(all, <-t.from[i][t.member])
	}
	if t.mix {
		slices.Reverse(all[1:])
	}
	return all, nil
}

// shares is a team that computes layers together, its leader first.
type shares struct {
	t        testing.TB
	decoders []*Decoder
	tables   []*table
}

func newShares(t testing.TB, f *weights.Model, o Options, speeds []int, c DecoderConfig) *shares {
	t.Helper()
	s := &shares{t: t, tables: newTables(len(speeds))}
	for i := range speeds {
		o.Share, c.Team = Share{speeds, i}, s.tables[i]
		d, err := NewDecoder(load(t, f, o), newPool(t, 1), c)
		if err != nil {
			t.Fatal(err)
		}
		s.decoders = append(s.decoders, d)
	}
	return s
}

// forward is the leader's Forward, with the followers.
func (s *shares) forward(spans []Span) []float32 {
	s.t.Helper()
	lead := s.decoders[0]
	theirs := slices.Clone(spans)
	for i := range theirs {
		if tokens := spans[i].Tokens; tokens != nil {
			theirs[i].Tokens, theirs[i].Hidden = nil, make([]float32, len(tokens)*lead.m.Config.Dim)
			if err := lead.m.lookup(theirs[i].Hidden, tokens); err != nil {
				s.t.Fatal(err)
			}
		}
		theirs[i].Want = 0
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, d := range s.decoders[1:] {
		wg.Go(func() {
			if out, err := d.Forward(theirs); err != nil || len(out) > 0 {
				s.t.Errorf("a follower: %d numbers, %v", len(out), err)
			}
		})
	}
	out, err := lead.Forward(spans)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// varied is a model of a shape whose vectors are no ones, so that it shows which of
// their elements are used.
func varied(t testing.TB, c weights.Config) *weights.Model {
	t.Helper()
	random, err := weights.Random(c, 3)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := random.Export(t.Context(), &b, quant.F32); err != nil {
		t.Fatal(err)
	}
	file := b.Bytes()
	f, err := weights.FromGGUF("varied", bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	r := repro.NewRandom(5)
	for _, id := range f.Config.Tensors() {
		x, err := f.Tensor(id)
		if err != nil {
			t.Fatal(err)
		}
		if x.Rows > 1 {
			continue
		}
		for i := range x.Cols {
			v := 1 + float32(int64(r.Uint64()))/(1<<64)
			binary.LittleEndian.PutUint32(file[x.Offset+4*int64(i):], math.Float32bits(v))
		}
	}
	return f
}

// same reports whether steps give the bits of one decoder: prompts of such lengths together,
// and then single positions.
func (s *shares) same(whole *Decoder, seed uint64, lengths []int, steps int) bool {
	s.t.Helper()
	c := &whole.m.Config
	r := repro.NewRandom(seed)
	spans := make([]Span, len(lengths))
	for i := range spans {
		for p := range 4 {
			spans[i].Pages = append(spans[i].Pages, int32(4*i+p))
		}
	}
	for step := range steps {
		for i := range spans {
			sp, n := &spans[i], 1
			sp.First += sp.positions(c.Dim)
			if step == 0 {
				n = lengths[i]
			}
			sp.Want = 1 + int(r.Uint64()%uint64(n))
			sp.Tokens, sp.Hidden = nil, nil
			for range n {
				if whole.m.HasEmbedding() {
					sp.Tokens = append(sp.Tokens, int32(r.Uint64()%uint64(c.Vocab)))
					continue
				}
				for range c.Dim {
					sp.Hidden = append(sp.Hidden, float32(int64(r.Uint64()))/(1<<60))
				}
			}
		}
		want, err := whole.Forward(spans)
		if err != nil {
			s.t.Fatal(err)
		}
		got := s.forward(spans)
		if !slices.EqualFunc(got, want, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
			return false
		}
	}
	return true
}

func decoder(t testing.TB, m *Model, c DecoderConfig) *Decoder {
	t.Helper()
	d, err := NewDecoder(m, newPool(t, 1), c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// However layers are divided among the members of a team, the bits are those of one.
func TestSplitsDoNotChangeTheBits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		speeds := rapid.SliceOfN(rapid.IntRange(1, 100), 2, 4).Draw(rt, "speeds")
		least := len(speeds)
		c := weights.Config{
			Arch: weights.Llama, Layers: 2, Vocab: 260, Context: 128, NormEps: 1e-5,
			Dim: 32 * rapid.IntRange(least, 5).Draw(rt, "dim/32"), FFN: 32 * rapid.IntRange(least, 8).Draw(rt, "ffn/32"),
			HeadDim: rapid.SampledFrom([]int{16, 32, 48}).Draw(rt, "head"), KVHeads: 2 * rapid.IntRange(least, 4).Draw(rt, "heads of keys/2"),
			TiedEmbeddings: rapid.Bool().Draw(rt, "tied"), QKVBias: rapid.Bool().Draw(rt, "bias"), QKNorm: rapid.Bool().Draw(rt, "norm"),
			Window: rapid.SampledFrom([]int{0, 7}).Draw(rt, "window"),
		}
		c.Heads = c.KVHeads * rapid.IntRange(1, 3).Draw(rt, "group")
		c.RoPE = weights.RoPE{Style: weights.Halves, Dim: c.HeadDim, Base: 10000}
		f := varied(t, c)
		o := Options{Profile: rapid.SampledFrom([]Profile{Q8, F32}).Draw(rt, "profile"), First: rapid.IntRange(0, 1).Draw(rt, "first")}
		o.Last = rapid.IntRange(o.First+1, 2).Draw(rt, "last")
		d := DecoderConfig{Pages: 16, Batch: 64, Context: 128}
		s := newShares(t, f, o, speeds, d)
		if !s.same(decoder(t, load(t, f, o), d), rapid.Uint64().Draw(rt, "seed"), rapid.SliceOfN(rapid.IntRange(1, 20), 1, 3).Draw(rt, "lengths"), 3) {
			rt.Errorf("other bits")
		}
	})
}

// Widths that are no multiples of 32 are divided too: they are not quantised.
func TestSplitOfOddWidths(t *testing.T) {
	t.Parallel()
	bin, tok := llmtest.Checkpoint(t)
	f, err := weights.Open(bin, weights.Options{Tokenizer: tok})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	d := DecoderConfig{Pages: 8, Batch: 40, Context: 128}
	s := newShares(t, f, Options{}, []int{3, 1}, d)
	if !s.same(decoder(t, load(t, f, Options{}), d), 1, []int{30, 5}, 3) {
		t.Error("other bits")
	}
}

// The parts have one order.
func TestPartsOfAnotherOrder(t *testing.T) {
	t.Parallel()
	c := weights.Config{Arch: weights.Llama, Layers: 1, Dim: 96, FFN: 96, Heads: 3, KVHeads: 3, HeadDim: 32, Vocab: 300, Context: 128, NormEps: 1e-5}
	c.RoPE = weights.RoPE{Style: weights.Halves, Dim: 32, Base: 10000}
	f, d := varied(t, c), DecoderConfig{Pages: 8, Batch: 40, Context: 128}
	s := newShares(t, f, Options{}, []int{1, 1, 1}, d)
	s.tables[0].mix = true
	if s.same(decoder(t, load(t, f, Options{}), d), 1, []int{5}, 1) {
		t.Error("the same bits, though the parts were mixed up")
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	c := weights.Config{Dim: 100, FFN: 320, Heads: 12, KVHeads: 6, HeadDim: 8}
	rapid.Check(t, func(rt *rapid.T) {
		speeds := rapid.SliceOfN(rapid.IntRange(1, MaxSpeed), 2, 3).Draw(rt, "speeds")
		parts, err := Split(&c, speeds)
		if err != nil {
			rt.Fatal(err)
		}
		var at Part
		for _, p := range parts {
			for _, r := range []struct {
				what      string
				from, row Rows
				unit      int
			}{{"heads", at.KVHeads, p.KVHeads, 2}, {"feed-forward", at.FFN, p.FFN, 32}, {"dim", at.Dim, p.Dim, 32}} {
				if r.row.First != r.from.Last || r.row.Len() < 1 || r.row.First%r.unit != 0 {
					rt.Errorf("%v: %s %v after %v", speeds, r.what, r.row, r.from)
				}
			}
			at = p
		}
		if at.KVHeads.Last != c.KVHeads || at.FFN.Last != c.FFN || at.Dim.Last != c.Dim {
			rt.Errorf("%v: it ends at %+v", speeds, at)
		}
	})
	parts, err := Split(&c, []int{300, 100})
	if want := []Part{{Rows{0, 4}, Rows{0, 256}, Rows{0, 96}}, {Rows{4, 6}, Rows{256, 320}, Rows{96, 100}}}; err != nil || !slices.Equal(parts, want) {
		t.Errorf("%+v, %v, want %+v", parts, err, want)
	}
	shares, err := Q8.Shares(&c, []int{300, 100})
	if err != nil || len(shares) != 2 || math.Abs(shares[0]+shares[1]-1) > 1e-9 || shares[0] < 0.7 || shares[0] > 0.85 {
		t.Errorf("shares %v, %v", shares, err)
	}
	if n := Q8.PartBytes(&c); n != 2*4*100+96/32*36+320/32*36 {
		t.Errorf("%d bytes of parts", n)
	}
	for want, speeds := range map[string][]int{
		"a team of 1":            {1},
		"a team of 9":            {1, 1, 1, 1, 1, 1, 1, 1, 1},
		"a speed of 0":           {1, 0},
		"a speed of 1048577":     {MaxSpeed + 1, 1},
		"6 heads of keys, which": {1, 1, 1, 1},
	} {
		if _, err := Split(&c, speeds); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", speeds, err, want)
		}
	}
}

// What others send is not believed: it has to be numbers, and quantised ones at that.
func TestPartsAreChecked(t *testing.T) {
	t.Parallel()
	c := weights.Config{Arch: weights.Llama, Layers: 1, Dim: 64, FFN: 64, Heads: 2, KVHeads: 2, HeadDim: 32, Vocab: 300, Context: 128, NormEps: 1e-5}
	c.RoPE = weights.RoPE{Style: weights.Halves, Dim: 32, Base: 10000}
	f := varied(t, c)
	nan := []byte{0, 0, 0xc0, 0x7f}
	for name, x := range map[string]struct {
		gather int // which of the four
		bad    []byte
		want   string
	}{
		"a scale that is none":  {0, nan, "scale"},
		"a scale below 0":       {0, []byte{0, 0, 0x80, 0xbf}, "scale"},
		"an integer of −128":    {2, []byte{0, 0, 0, 0, 0x80}, "−128"},
		"a number that is none": {1, nan, "member 1"},
		"and at the end":        {3, nan, "member 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := NewDecoder(load(t, f, Options{Share: Share{[]int{1, 1}, 0}}), newPool(t, 1), DecoderConfig{Pages: 1, Batch: 1, Context: 32, Team: &liar{at: x.gather, bad: x.bad}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Forward([]Span{{Pages: []int32{0}, Tokens: []int32{7}, Want: 1}}); !errors.Is(err, ErrPart) || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, want %q", err, x.want)
			}
		})
	}
}

// liar sends zeros, and once something else.
type liar struct {
	at  int
	bad []byte
}

func (l *liar) Gather(mine []byte, sizes []int) ([][]byte, error) {
	out := make([]byte, sizes[1])
	if l.at == 0 {
		copy(out, l.bad)
	}
	l.at--
	return [][]byte{mine, out}, nil
}
