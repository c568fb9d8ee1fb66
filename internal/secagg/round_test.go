package secagg

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/identity"
)

// keysFor are identities for tests, made once.
var keysFor = func() (keys []*identity.Key) {
	for range 80 {
		k, err := identity.Generate()
		if err != nil {
			panic(err)
		}
		keys = append(keys, k)
	}
	return keys
}()

// cast is a round among n members.
type cast struct {
	t        testing.TB
	p        *Params
	server   *Server
	clients  []*Client
	journals []Journal
	words    [][]uint32
	rng      *rand.Rand
}

func newCast(t testing.TB, seed uint64, n, degree, shares, dim, bits int) *cast {
	t.Helper()
	c := &cast{t: t, rng: rand.New(rand.NewPCG(seed, 1))}
	c.p = &Params{Round: core.DigestOf(fmt.Appendf(nil, "round %d", seed)), Threshold: 2*n/3 + 1, Degree: degree, Shares: shares, Dim: dim, Bits: bits}
	for i := range n {
		c.p.Members = append(c.p.Members, Member{fmt.Sprintf("site-%04d", i), keysFor[i%len(keysFor)].Public()})
	}
	var err error
	if c.server, err = NewServer(c.p); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c.journals = append(c.journals, new(MemoryJournal))
		c.clients = append(c.clients, c.client(i))
		w := make([]uint32, dim)
		for j := range w {
			w[j] = c.rng.Uint32()
		}
		c.words = append(c.words, w)
	}
	return c
}

func (c *cast) client(i int) *Client {
	c.t.Helper()
	seed := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, c.rng.Uint64()))
	x, err := NewClient(c.p, c.p.Members[i].Name, keysFor[i%len(keysFor)].Sign, zero(seed), c.journals[i])
	c.must(err)
	return x
}

type zero [32]byte

func (z zero) Read(b []byte) (int, error) { return copy(b, z[:]), nil }

var _ io.Reader = zero{}

func (c *cast) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// play runs a round in which each member leaves before the step that out says; members
// in again begin each step as after a crash. It returns who is in the sum.
func (c *cast) play(out map[int]Step, again map[int]bool) []int {
	c.t.Helper()
	here := func(i int, s Step) bool {
		at, ok := out[i]
		if again[i] {
			c.clients[i] = c.restarted(i, s)
		}
		return !ok || s < at
	}
	s := c.server
	for i, x := range c.clients {
		if here(i, Advertising) {
			k, err := x.Advertise()
			c.must(err)
			c.must(s.Advertise(k))
			c.must(s.Advertise(k)) // it came twice
		}
	}
	all, err := s.CloseKeys()
	c.must(err)
	if c.p.Degree > 0 {
		for _, k := range all {
			p, err := c.clients[k.From].Reveal(all)
			c.must(err)
			c.must(s.Reveal(p))
		}
	}
	parts, err := s.CloseLot()
	c.must(err)
	for _, i := range s.Missing() {
		if here(i, Sharing) {
			sealed, err := c.clients[i].Share(all, parts)
			c.must(err)
			c.must(s.Share(i, sealed))
		}
	}
	c.must(s.CloseShares())
	for _, i := range s.Missing() {
		if here(i, Masking) {
			v, in, err := c.clients[i].Mask(s.Inbox(i), c.words[i])
			c.must(err)
			c.must(s.Mask(v, in))
			c.must(s.Mask(v, in)) // it came twice
		}
	}
	alive, err := s.CloseVectors()
	c.must(err)
	for _, i := range s.Missing() {
		if here(i, Agreeing) {
			a, err := c.clients[i].Agree(alive, s.Included(i))
			c.must(err)
			c.must(s.Agree(a))
		}
	}
	quorum, err := s.CloseAgreement()
	c.must(err)
	for _, i := range s.Missing() {
		if here(i, Unmasking) {
			o, err := c.clients[i].Open(alive, quorum)
			c.must(err)
			c.must(s.Open(o))
		}
	}
	return alive
}

// restarted is a client after a crash, as far as it had come.
func (c *cast) restarted(i int, at Step) *Client {
	c.t.Helper()
	x := c.client(i)
	s := c.server
	if at > Sharing {
		parts, err := s.CloseLot()
		c.must(err)
		_, err = x.Share(s.all, parts)
		c.must(err)
	}
	if at > Masking {
		before, err := x.MaskedBefore()
		c.must(err)
		other := make([]uint32, c.p.Dim) // other randomness in training
		v, _, err := x.Mask(s.Inbox(i), other)
		c.must(err)
		if !slices.Equal(v, before) || before == nil {
			c.t.Errorf("member %d has a second vector after a crash", i)
		}
	}
	return x
}

func (c *cast) check(alive []int) {
	c.t.Helper()
	sum, err := c.server.Sum()
	c.must(err)
	want := make([]uint32, c.p.Dim)
	for _, i := range alive {
		for j, w := range c.words[i] {
			want[j] += w
		}
	}
	reduce(want, c.p.Bits)
	if !slices.Equal(sum, want) {
		c.t.Errorf("the sum is not that of the vectors of %v", alive)
	}
}

// The sum is that of the survivors, whoever leaves when, and whoever crashes.
func TestSum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(3, 12).Draw(rt, "members")
		c := newCast(t, rapid.Uint64().Draw(rt, "seed"), n, 0, 2*n/3, rapid.IntRange(1, 300).Draw(rt, "dim"), rapid.IntRange(1, 32).Draw(rt, "bits"))
		c.check(c.play(c.leave(rt, n, n-c.p.Threshold), c.crash(rt, n)))
	})
}

// The same on a ring on which each has a few neighbours.
func TestSumSparse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(9, 24).Draw(rt, "members")
		c := newCast(t, rapid.Uint64().Draw(rt, "seed"), n, 6, 4, 100, 20)
		out := c.leave(rt, n, 1) // more may leave a member too few neighbours
		c.check(c.play(out, c.crash(rt, n)))
	})
}

func (c *cast) leave(rt *rapid.T, n, most int) map[int]Step {
	out := map[int]Step{}
	for range rapid.IntRange(0, most).Draw(rt, "leaving") {
		out[rapid.IntRange(0, n-1).Draw(rt, "who")] = rapid.SampledFrom([]Step{Advertising, Sharing, Masking, Agreeing, Unmasking}).Draw(rt, "when")
	}
	return out
}

func (c *cast) crash(rt *rapid.T, n int) map[int]bool {
	again := map[int]bool{}
	for i := range n {
		again[i] = rapid.IntRange(0, 3).Draw(rt, "crash") == 0
	}
	return again
}

// Two hundred members, a tenth of whom leave before they have sent a vector.
func TestSumOfMany(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("shares and seals for two hundred members; run without -short")
	}
	const n = 200
	_, degree, shares, err := Plan(n, 0.15, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	c := newCast(t, 7, n, degree, shares, 50, 24)
	out := map[int]Step{}
	for i := 0; i < n; i += 10 {
		out[i] = Masking
	}
	c.check(c.play(out, nil))
}
