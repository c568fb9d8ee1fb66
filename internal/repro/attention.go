package repro

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
)

const maxHeadDim = 1024

// AttentionConfig is the shape of a model's attention.
type AttentionConfig struct {
	Heads   int     // heads of the queries
	KVHeads int     // heads of keys and values; divides Heads
	Dim     int     // elements of a head, up to 1024
	Scale   float32 // usually 1/√Dim
	Window  int     // positions that a query sees, itself included; 0 for all
	Context int     // the longest sequence, in positions
}

// Attention is causal attention with grouped queries. It holds the room that it
// computes in: use one at a time.
type Attention struct {
	c       AttentionConfig
	scratch []attentionScratch // for each thread of the pool
}

// attentionScratch is what one piece of work needs: up to 8 rows, each a head of a
// query.
type attentionScratch struct {
	scores []float32 // [8][positions]
	packed []float32 // [positions][8], or [dim][8] for the queries
	query  []float32
}

// A Span is consecutive positions of one sequence, whose keys and values are in
// the cache, and whose queries are asked together.
type Span struct {
	Pages []int32 // of the whole sequence, from position 0
	First int     // position of the first query
	N     int     // number of queries
}

// NewAttention checks c and prepares for pools of up to threads threads.
func NewAttention(c AttentionConfig, threads int) (*Attention, error) {
	switch {
	case c.KVHeads < 1 || c.Heads < c.KVHeads || c.Heads%c.KVHeads != 0 || c.Heads > 1<<12:
		return nil, fmt.Errorf("attention: %d heads of queries over %d of keys: want a multiple, up to 4096", c.Heads, c.KVHeads)
	case c.Dim < 1 || c.Dim > maxHeadDim:
		return nil, fmt.Errorf("attention: heads of %d elements: want 1 to %d", c.Dim, maxHeadDim)
	case !(c.Scale > 0) || notFinite(c.Scale):
		return nil, fmt.Errorf("attention: scale %g: want a positive number", c.Scale)
	case c.Window < 0 || c.Context < 1 || c.Context > MaxAngle:
		return nil, fmt.Errorf("attention: window %d in %d positions: want no less than 0, in 1 to %d", c.Window, c.Context, MaxAngle)
	case threads < 1:
		return nil, fmt.Errorf("attention: %d threads: want at least 1", threads)
	}
	a := &Attention{c: c, scratch: make([]attentionScratch, threads)}
	padded := pages(c.Context) * PagePositions
	for i := range a.scratch {
		a.scratch[i] = attentionScratch{
			scores: make([]float32, tileRows*padded),
			packed: make([]float32, tileRows*padded),
			query:  make([]float32, tileRows*2*c.Dim),
		}
	}
	return a, nil
}

// pages returns how many pages hold n positions.
func pages(n int) int { return (n + PagePositions - 1) / PagePositions }

// Run answers the queries of all spans by rule 6. q and dst hold Heads·Dim
// elements for each query, span after span. It refuses queries that give scores
// which are NaN or infinite, pages that do not exist, and positions beyond the
// context; dst is then undefined.
func (a *Attention) Run(dst, q []float32, kv *KV, spans []Span, pool *Pool) error {
	if kv.heads != a.c.KVHeads || kv.dim != a.c.Dim {
		return fmt.Errorf("attention over %d heads of %d: the cache has %d of %d", a.c.KVHeads, a.c.Dim, kv.heads, kv.dim)
	}
	if pool.Threads() > len(a.scratch) {
		return fmt.Errorf("attention made for %d threads: the pool has %d", len(a.scratch), pool.Threads())
	}
	queries := 0
	for i := range spans {
		if err := a.check(&spans[i], kv); err != nil {
			return fmt.Errorf("attention: span %d: %w", i, err)
		}
		queries += spans[i].N
	}
	if want := queries * a.c.Heads * a.c.Dim; len(q) != want || len(dst) != want {
		return fmt.Errorf("attention: %d queries in %d values into %d: want %d", queries, len(q), len(dst), want)
	}
	pool.mu.Lock()
	defer pool.mu.Unlock()
	j := &pool.jobs.attention
	j.a, j.kv, j.dst, j.q, j.spans = a, kv, dst, q, spans
	j.refused.Store(false)
	pieces := 0
	for i := range spans {
		pieces += a.pieces(&spans[i])
	}
	pool.run(j, pieces)
	j.a, j.kv, j.dst, j.q, j.spans = nil, nil, nil, nil, nil
	if j.refused.Load() {
		return fmt.Errorf("attention: score: %w", errors.Join(Finite(q), ErrNotFinite))
	}
	return nil
}

func (a *Attention) check(s *Span, kv *KV) error {
	if s.First < 0 || s.N < 1 || s.First > a.c.Context-s.N {
		return fmt.Errorf("%d queries from position %d on: want at least one, within %d positions", s.N, s.First, a.c.Context)
	}
	if n := pages(s.First + s.N); len(s.Pages) < n {
		return fmt.Errorf("%d pages for %d positions: want %d", len(s.Pages), s.First+s.N, n)
	}
	for _, p := range s.Pages[:pages(s.First+s.N)] {
		if p < 0 || int(p) >= kv.pages {
			return fmt.Errorf("page %d of %d", p, kv.pages)
		}
	}
	return nil
}

// pieces returns the pieces of work in a span: for each head of keys, the rows
// that use it, up to 8 at a time.
func (a *Attention) pieces(s *Span) int { return a.c.KVHeads * a.tiles(s) }

func (a *Attention) tiles(s *Span) int {
	return (s.N*a.c.Heads/a.c.KVHeads + tileRows - 1) / tileRows
}

// attentionJob holds the arguments of Run.
type attentionJob struct {
	a       *Attention
	kv      *KV
	dst, q  []float32
	spans   []Span
	refused atomic.Bool
}

func (j *attentionJob) piece(isa ISA, slot, i int) {
	first := 0 // query of the span
	for k := range j.spans {
		s := &j.spans[k]
		if n := j.a.pieces(s); i >= n {
			i -= n
			first += s.N
			continue
		}
		t := attentionTile{attentionJob: j, isa: isa, span: s, scratch: &j.a.scratch[slot]}
		tiles := j.a.tiles(s)
		t.head, t.firstRow = i/tiles, i%tiles*tileRows
		t.group = j.a.c.Heads / j.a.c.KVHeads
		t.rows = min(tileRows, s.N*t.group-t.firstRow)
		t.padded = t.rows
		for isa != Portable && t.padded&(t.padded-1) != 0 {
			t.padded++
		}
		t.queries = first
		if !t.run() {
			j.refused.Store(true)
		}
		return
	}
}

// attentionTile is up to 8 rows that share keys and values: row r is head r mod
// group, within those of the keys' head, of query r / group of the span.
type attentionTile struct {
	*attentionJob
	isa            ISA
	span           *Span
	scratch        *attentionScratch
	head, group    int
	firstRow, rows int
	padded         int // rows up to what a kernel does at once; nobody reads the results of the rest
	queries        int // queries before this span
}

// at returns where row r's elements begin in q and dst.
func (t *attentionTile) at(r int) int {
	r += t.firstRow
	query, head := t.queries+r/t.group, t.head*t.group+r%t.group
	return (query*t.a.c.Heads + head) * t.a.c.Dim
}

// sees returns the positions that row r looks at, from lo up to hi.
func (t *attentionTile) sees(r int) (lo, hi int) {
	hi = t.span.First + (t.firstRow+r)/t.group + 1
	if w := t.a.c.Window; w > 0 {
		lo = max(0, hi-w)
	}
	return lo, hi
}

func (t *attentionTile) run() bool {
	lo, _ := t.sees(0)
	_, hi := t.sees(t.rows - 1)
	firstPage, endPage := lo/PagePositions, pages(hi)
	n := (endPage - firstPage) * PagePositions
	scores := t.scratch.scores[:t.padded*n]
	t.score(scores, n, firstPage, endPage)
	for r := range t.rows {
		if !t.weigh(scores[r*n:(r+1)*n], r, firstPage*PagePositions) {
			return false
		}
	}
	t.gather(scores, n, firstPage, endPage)
	return true
}

// score fills n scores for each row with the products of query and keys.
func (t *attentionTile) score(scores []float32, n, firstPage, endPage int) {
	dim := t.a.c.Dim
	query, packed := t.scratch.query[:tileRows*dim], t.scratch.query[tileRows*dim:]
	for r := range t.rows {
		at := t.at(r)
		copy(query[r*dim:(r+1)*dim], t.q[at:at+dim])
	}
	a, step := query, 1
	if t.rows > 1 {
		a, step = packed, tileRows
		packTile(t.isa, packed, query, dim, t.padded, dim)
	}
	clear(scores)
	for p := firstPage; p < endPage; p++ {
		keys := t.kv.k.from(t.kv.key(int(t.span.Pages[p]), t.head))
		mulPanel(t.isa, t.padded, a, step, keys, dim, scores[(p-firstPage)*PagePositions:], n)
	}
}

// weigh turns the scores of row r, from position first on, into weights.
func (t *attentionTile) weigh(s []float32, r, first int) bool {
	lo, hi := t.sees(r)
	lo, hi = lo-first, hi-first
	top, ok := scale(t.isa, s[lo:hi], t.a.c.Scale)
	if !ok {
		return false
	}
	minusInf := float32(math.Inf(-1))
	for i := range s[:lo] {
		s[i] = minusInf
	}
	for i := hi; i < len(s); i++ {
		s[i] = minusInf
	}
	softmax(t.isa, s, top)
	return true
}

// gather adds the values up by the weights.
func (t *attentionTile) gather(weights []float32, n, firstPage, endPage int) {
	a, step := weights, 1
	if t.rows > 1 {
		a, step = t.scratch.packed[:n*tileRows], tileRows
		packTile(t.isa, a, weights, n, t.padded, n)
	}
	dim := t.a.c.Dim
	var out [tileRows * panelRows]float32
	for panel := range t.kv.panels() {
		clear(out[:])
		for p := firstPage; p < endPage; p++ {
			values := t.kv.v.from(t.kv.value(int(t.span.Pages[p]), t.head, panel))
			mulPanel(t.isa, t.padded, a[(p-firstPage)*PagePositions*step:], step, values, PagePositions, out[:], panelRows)
		}
		for r := range t.rows {
			at := t.at(r)
			copy(t.dst[at+panel*panelRows:at+dim], out[r*panelRows:(r+1)*panelRows])
		}
	}
}

// scalePortable multiplies x by f and returns the largest result, and whether all
// are finite.
func scalePortable(x []float32, f float32) (top float32, ok bool) {
	top = float32(math.Inf(-1))
	var bits uint32
	for i, v := range x {
		v = float32(v * f)
		x[i] = v
		if v > top {
			top = v
		}
		bits = max(bits, math.Float32bits(v)&^signBit)
	}
	return top, bits < notFiniteBits
}
