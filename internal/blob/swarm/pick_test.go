package swarm

import (
	"testing"
	"time"

	"atoll/internal/core"
)

// choosing is a transfer of four chunks, all wanted, with a peer that has all and a fellow
// that has what it is given.
type choosing struct {
	*transfer
	seed, fellow, origin *source
	now                  time.Time
}

func newChoosing() *choosing {
	t := &transfer{s: &Swarm{cfg: Config{Self: core.Digest{1}}}, chunks: make([]chunk, 4), wanted: 4}
	c := &choosing{transfer: t, now: time.Unix(1_000_000, 0)}
	c.seed = &source{t: t, all: true, key: core.Digest{2}}
	c.fellow = &source{t: t, some: make([]bool, 4), key: core.Digest{3}}
	c.origin = &source{t: t, all: true, origin: true}
	t.sources, t.brought = []*source{c.seed, c.fellow}, c.now
	for n := range t.chunks {
		t.chunks[n].want, t.chunks[n].holders = usual, 1
	}
	return c
}

// gives has the fellow have a chunk.
func (c *choosing) gives(n int) {
	c.fellow.some[n] = true
	c.chunks[n].holders++
	c.chunks[n].fellows++
	c.chunks[n].open = c.now
}

// seen are the chunks that a source is asked for, over many tries.
func (c *choosing) seen(s *source) (n [4]bool) {
	for range 200 {
		if i, ok := c.choose(s, c.now); ok {
			n[i] = true
		}
	}
	return n
}

func TestChoose(t *testing.T) {
	t.Parallel()
	mine := [4]bool{} // by the lot
	for n := range mine {
		self, fellow := core.Digest{1}, core.Digest{3}
		mine[n] = lot(self[:], n) < lot(fellow[:], n)
	}
	if mine == [4]bool{} || mine == [4]bool{true, true, true, true} {
		t.Fatalf("the keys of this test share nothing: %v", mine)
	}
	none, all := [4]bool{}, [4]bool{true, true, true, true}
	for name, tc := range map[string]struct {
		change func(c *choosing)
		of     func(c *choosing) *source
		want   [4]bool
	}{
		"one's own share first":         {func(*choosing) {}, func(c *choosing) *source { return c.seed }, mine},
		"what is urgent first":          {func(c *choosing) { c.first = []int{2}; c.chunks[2].holders = 9 }, func(c *choosing) *source { return c.seed }, [4]bool{2: true}},
		"what is rare first":            {func(c *choosing) { c.chunks[0].holders, c.chunks[1].holders, c.chunks[2].holders = 3, 2, 2 }, func(c *choosing) *source { return c.seed }, [4]bool{3: true}},
		"a fellow's only of it":         {func(c *choosing) { c.gives(0); c.gives(1); c.gives(2); c.gives(3) }, func(c *choosing) *source { return c.seed }, none},
		"until it waits too long":       {func(c *choosing) { c.gives(1); c.chunks[1].open = c.now.Add(-patience); c.only(1) }, func(c *choosing) *source { return c.seed }, [4]bool{1: true}},
		"of a fellow what it has":       {func(c *choosing) { c.gives(1) }, func(c *choosing) *source { return c.fellow }, [4]bool{1: true}},
		"nothing that is here":          {func(c *choosing) { c.chunks[0].here, c.chunks[1].here = true, true; c.only(0, 1) }, func(c *choosing) *source { return c.seed }, none},
		"nothing that was just asked":   {func(c *choosing) { c.only(1); c.chunks[1].asked, c.chunks[1].at = c.fellow, c.now }, func(c *choosing) *source { return c.seed }, none},
		"what another leaves lying":     {func(c *choosing) { c.only(1); c.chunks[1].asked, c.chunks[1].at = c.fellow, c.now.Add(-lateAfter) }, func(c *choosing) *source { return c.seed }, [4]bool{1: true}},
		"but not twice of one":          {func(c *choosing) { c.only(1); c.chunks[1].asked, c.chunks[1].at = c.seed, c.now.Add(-lateAfter) }, func(c *choosing) *source { return c.seed }, none},
		"the origin only if none has":   {func(*choosing) {}, func(c *choosing) *source { return c.origin }, none},
		"or they bring nothing":         {func(c *choosing) { c.brought = c.now.Add(-lateAfter); c.sources = nil }, func(c *choosing) *source { return c.origin }, all},
		"the origin not while one asks": {func(c *choosing) { c.greeting, c.since = 1, c.now; c.sources = nil; c.alone() }, func(c *choosing) *source { return c.origin }, none},
		"and then it":                   {func(c *choosing) { c.sources = nil; c.alone() }, func(c *choosing) *source { return c.origin }, all},
	} {
		c := newChoosing()
		tc.change(c)
		if got := c.seen(tc.of(c)); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// only has nothing else be wanted.
func (c *choosing) only(chunks ...int) {
	for n := range c.chunks {
		c.chunks[n].want = 0
	}
	c.wanted = len(chunks)
	for _, n := range chunks {
		c.chunks[n].want = usual
	}
}

// alone has no peer hold anything.
func (c *choosing) alone() {
	for n := range c.chunks {
		c.chunks[n].holders = 0
	}
}
