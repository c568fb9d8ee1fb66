package secagg

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"atoll/internal/core"
)

// refused wants an error of a kind that names the reason.
func refused(t *testing.T, err error, kind core.Kind, reason string) {
	t.Helper()
	if err == nil || core.KindOf(err) != kind || !strings.Contains(err.Error(), reason) {
		t.Errorf("%v: want it refused as %v, with %q", err, kind, reason)
	}
}

// begin takes a round among n members to the point where keys are known.
func begin(t *testing.T, n, degree, shares int) (*cast, []Keys, []Part) {
	t.Helper()
	c := newCast(t, uint64(n), n, degree, shares, 40, 16)
	for _, x := range c.clients {
		k, err := x.Advertise()
		c.must(err)
		c.must(c.server.Advertise(k))
	}
	all, err := c.server.CloseKeys()
	c.must(err)
	if degree > 0 {
		for _, x := range c.clients {
			p, err := x.Reveal(all)
			c.must(err)
			c.must(c.server.Reveal(p))
		}
	}
	parts, err := c.server.CloseLot()
	c.must(err)
	return c, all, parts
}

// share goes on until shares have been exchanged.
func (c *cast) share(all []Keys, parts []Part) {
	c.t.Helper()
	for i, x := range c.clients {
		sealed, err := x.Share(all, parts)
		c.must(err)
		c.must(c.server.Share(i, sealed))
	}
	c.must(c.server.CloseShares())
}

// mask goes on until all but some have sent a vector.
func (c *cast) mask(but ...int) []int {
	c.t.Helper()
	for i, x := range c.clients {
		v, in, err := x.Mask(c.server.Inbox(i), c.words[i])
		c.must(err)
		if !slices.Contains(but, i) {
			c.must(c.server.Mask(v, in))
		}
	}
	alive, err := c.server.CloseVectors()
	c.must(err)
	return alive
}

func (c *cast) agree(alive []int) []Agreement {
	c.t.Helper()
	for _, i := range alive {
		a, err := c.clients[i].Agree(alive, c.server.Included(i))
		c.must(err)
		c.must(c.server.Agree(a))
	}
	quorum, err := c.server.CloseAgreement()
	c.must(err)
	return quorum
}

// A hub that puts its own key in the place of a member's, or shows each member others.
func TestSwappedKeys(t *testing.T) {
	t.Parallel()
	for _, degree := range []int{0, 6} {
		c, all, parts := begin(t, 9, degree, 6)
		swapped := slices.Clone(all)
		for i := range swapped[1:] {
			swapped[1+i].Mask = all[0].Mask
		}
		fresh := func() *Client { c.journals[0] = new(MemoryJournal); return c.client(0) }
		x := fresh()
		own, err := x.Advertise()
		c.must(err)
		swapped[0] = own
		if degree > 0 {
			mine, err := x.Reveal(swapped)
			c.must(err)
			theirs := slices.Clone(parts)
			theirs[0] = mine
			_, err = x.Share(swapped, theirs)
			refused(t, err, core.Conflict, "has not signed its part of the lot for these keys")
		} else {
			_, err := x.Share(swapped, nil)
			refused(t, err, core.Forbidden, "not signed by it")
		}
		_, err = c.clients[1].Share(all, parts)
		c.must(err)
		swapped[0], swapped[1] = all[0], all[1]
		_, err = c.clients[1].Share(swapped, parts)
		refused(t, err, core.Conflict, "other keys before")
	}
}

// On a ring, neighbours must have seen the same keys: also those of members far away.
func TestOtherKeysForOneMember(t *testing.T) {
	t.Parallel()
	c, all, parts := begin(t, 9, 4, 3)
	const victim = 0
	near := neighbours(c.server.graph, all, victim)
	far := slices.IndexFunc(all, func(k Keys) bool { return k.From != victim && !slices.Contains(near, k.From) })
	shown := slices.Clone(all)
	shown[far].Box = all[victim].Box // what a member far away has is of no use to the victim
	c.journals[victim] = new(MemoryJournal)
	x := c.client(victim)
	own, err := x.Advertise()
	c.must(err)
	shown[victim] = own
	mine, err := x.Reveal(shown)
	c.must(err)
	theirs := slices.Clone(parts)
	theirs[victim] = mine
	if _, err = x.Share(shown, theirs); err == nil {
		t.Error("a member goes on with keys that its neighbours have not seen")
	}
}

// A hub that names survivors as it likes.
func TestLiesOnSurvivors(t *testing.T) {
	t.Parallel()
	c, all, parts := begin(t, 7, 0, 5)
	c.share(all, parts)
	alive := c.mask(6)
	x := c.clients[0]
	for _, lie := range []struct {
		survivors []int
		kind      core.Kind
		reason    string
	}{
		{alive[:4], core.Invalid, "5 must"},
		{alive[1:], core.Invalid, "without this member"},
		{[]int{0, 1, 1, 2, 3, 4}, core.Invalid, "each once"},
		{[]int{0, 1, 2, 3, 4, 7}, core.Invalid, "each once"},
		{[]int{-1, 0, 1, 2, 3, 4}, core.Invalid, "each once"},
	} {
		_, err := x.Agree(lie.survivors, c.server.Included(0))
		refused(t, err, lie.kind, lie.reason)
	}
	_, err := x.Open(alive, nil)
	refused(t, err, core.Conflict, "signed other survivors, or none")
	quorum := c.agree(alive)
	if _, err := x.Agree(alive, c.server.Included(0)); err != nil {
		t.Errorf("the same survivors again: %v", err)
	}
	_, err = x.Agree(alive[:5], c.server.Included(0)[:4])
	refused(t, err, core.Conflict, "other survivors before")
	_, err = x.Open(alive, quorum[:4])
	refused(t, err, core.Invalid, "4 members have signed the survivors: 5 must")
	_, err = x.Open(alive, slices.Repeat(quorum[:1], 5))
	refused(t, err, core.Invalid, "in order")
	forged := slices.Clone(quorum)
	forged[1].Sig = quorum[2].Sig
	_, err = x.Open(alive, forged)
	refused(t, err, core.Forbidden, "has not signed")
}

// A hub that has had one set of survivors opened, and wants the other kind of share too,
// with signatures of members that are its own.
func TestOneKindOfShare(t *testing.T) {
	t.Parallel()
	c, all, parts := begin(t, 7, 0, 5)
	c.share(all, parts)
	alive := c.mask()
	quorum := c.agree(alive)
	first, err := c.clients[0].Open(alive, quorum)
	c.must(err)
	if _, ok := first.Own[6]; !ok || len(first.Masks) > 0 {
		t.Fatalf("member 0 opens %d own masks and %d keys", len(first.Own), len(first.Masks))
	}
	without := alive[:6]
	var signed []Agreement
	for _, i := range without { // as if all of the members would sign anything
		a := Agreement{From: i}
		a.Sig, err = keysFor[i].Sign(a.statement(c.p.Context(), digestSet(without)))
		c.must(err)
		signed = append(signed, a)
	}
	o, err := c.clients[0].Open(without, signed)
	refused(t, err, core.Conflict, "has signed other survivors")
	if o != nil && o.Masks[6] != (secret{}) {
		t.Error("member 0 gives both of its shares of member 6 away")
	}
	again, err := c.clients[0].Open(alive, quorum)
	if err != nil || again.Own[6] != first.Own[6] {
		t.Errorf("the same request has another answer: %v", err)
	}
}

// A hub that keeps shares back between two members, to have them without a common mask.
func TestSharesKeptBack(t *testing.T) {
	t.Parallel()
	c, all, parts := begin(t, 9, 6, 4)
	c.share(all, parts)
	_, _, err := c.clients[0].Mask(c.server.Inbox(0)[1:], c.words[0])
	c.must(err)
	_, err = c.clients[0].Agree([]int{0, 1, 2, 3, 4, 5, 6, 7, 8}, nil)
	refused(t, err, core.Conflict, "its shares have not come")
	_, _, err = c.clients[0].Mask(c.server.Inbox(0), c.words[0])
	refused(t, err, core.Conflict, "shares of others before")
}

// A hub that has one side alone leave a common mask out: the other's own mask would be
// opened by members whose vectors lack nothing but that of the one, and so groups be told
// apart.
func TestMasksAreMutual(t *testing.T) {
	t.Parallel()
	c, all, parts := begin(t, 7, 0, 4)
	c.share(all, parts)
	_, cut, err := c.clients[0].Mask(c.server.Inbox(0)[:5], c.words[0]) // without those of member 6
	c.must(err)
	said := []Included{cut}
	for i := 1; i < 7; i++ {
		v, in, err := c.clients[i].Mask(c.server.Inbox(i), c.words[i])
		c.must(err)
		said = append(said, in)
		if i == 1 {
			refused(t, c.server.Mask(v, Included{From: 1, Without: []int{2}}), core.Invalid, "not the masks of just those")
			refused(t, c.server.Mask(v, Included{From: 1}), core.Forbidden, "has not signed whose masks")
		}
	}
	everybody := []int{0, 1, 2, 3, 4, 5, 6}
	x, near := c.clients[6], said[:6]
	_, err = x.Agree(everybody, near)
	refused(t, err, core.Conflict, "the vector of site-0000 is without this member's mask")
	near[0].Without = nil
	_, err = x.Agree(everybody, near)
	refused(t, err, core.Forbidden, "site-0000 has not signed whose masks it has")
	_, err = x.Agree(everybody, near[1:])
	refused(t, err, core.Invalid, "5 neighbours say whose masks they have: want 6")
}

// A hub that shows a member other keys of its own than it has sent.
func TestOwnKeysAreSwapped(t *testing.T) {
	t.Parallel()
	c, all, parts := begin(t, 7, 0, 4)
	all = slices.Clone(all)
	all[2].Own[0] ^= 1
	_, err := c.clients[2].Share(all, parts)
	refused(t, err, core.Forbidden, "other keys of this member")
}

// Messages and journals of one round are of no use in another.
func TestOldRound(t *testing.T) {
	t.Parallel()
	c, all, parts := begin(t, 5, 0, 3)
	c.share(all, parts)
	alive := c.mask()
	quorum := c.agree(alive)
	next := *c.p
	next.Round = core.DigestOf([]byte("the next round"))
	s, err := NewServer(&next)
	c.must(err)
	refused(t, s.Advertise(all[0]), core.Forbidden, "not signed by")
	x, err := NewClient(&next, next.Members[1].Name, keysFor[1].Sign, zero{7}, new(MemoryJournal))
	c.must(err)
	mine, err := x.Advertise()
	c.must(err)
	old := slices.Clone(all)
	old[1] = mine
	_, err = x.Share(old, nil)
	refused(t, err, core.Forbidden, "not signed by it")
	refused(t, x.checkAgreements(alive, quorum, digestSet(alive)), core.Forbidden, "has not signed")
	_, err = NewClient(&next, next.Members[0].Name, keysFor[0].Sign, zero{8}, c.journals[0])
	refused(t, err, core.Conflict, "is of another round")
}

// Members that send what they like are refused, and the round goes on without them.
func TestGarbage(t *testing.T) {
	t.Parallel()
	c, all, parts := begin(t, 10, 0, 6)
	s := c.server
	sealed, err := c.clients[0].Share(all, parts)
	c.must(err)
	refused(t, s.Share(0, sealed[1:]), core.Invalid, "want one for each of 9")
	refused(t, s.Share(10, sealed), core.Invalid, "member 10 of 10")
	long := slices.Clone(sealed)
	long[0].Box = make([]byte, boxSize+1)
	refused(t, s.Share(0, long), core.Invalid, "has sealed")
	refused(t, s.Advertise(all[0]), core.Conflict, "the round is at the shares")
	c.share(all, parts)
	inbox := slices.Clone(s.Inbox(0))
	inbox[0].Box = bytes.Repeat([]byte{1}, boxSize)
	_, _, err = c.clients[0].Mask(inbox, c.words[0])
	refused(t, err, core.Invalid, "cannot be opened")
	refused(t, s.Mask(make([]byte, 3), Included{From: 9}), core.Invalid, "3 bytes: want 80")
	alive := c.mask(9)
	quorum := c.agree(alive)
	for _, i := range alive {
		o, err := c.clients[i].Open(alive, quorum)
		c.must(err)
		if i == 1 { // the first are no elements of the field, the others of another polynomial
			bad := *o
			bad.Masks = nil
			refused(t, s.Open(&bad), core.Invalid, "another secret of site-0009")
			for j := range o.Own {
				o.Own[j] = secret(bytes.Repeat([]byte{255 * byte(j%2)}, 32))
			}
		}
		if i == 7 {
			_, err := s.Sum()
			refused(t, err, core.Invalid, "do not fit together")
		}
		c.must(s.Open(o))
	}
	c.check(alive)
	if len(s.liars) != 1 || !s.liars[1] {
		t.Errorf("found to have opened false shares: %v", s.liars)
	}
}

// What the hub sees of one member is uniform, whatever its vector; so is one of zeros, of
// which the same words under the same masks would be seen.
func TestVectorLooksUniform(t *testing.T) {
	t.Parallel()
	const dim, buckets = 1 << 16, 256
	c := newCast(t, 3, 4, 0, 2, dim, 16)
	for i := range c.words {
		clear(c.words[i])
	}
	c.play(nil, nil)
	v, err := c.clients[0].MaskedBefore()
	c.must(err)
	for _, shift := range []int{0, 1} { // low and high bytes of the words
		var count [buckets]int
		for i := shift; i < len(v); i += 2 {
			count[v[i]]++
		}
		chi := 0.0
		for _, n := range count {
			d := float64(n) - dim/buckets
			chi += d * d / (dim / buckets)
		}
		if far := math.Abs(chi-(buckets-1)) / math.Sqrt(2*(buckets-1)); far > 6 {
			t.Errorf("chi-square %.0f over %d buckets: %.1f deviations off", chi, buckets, far)
		}
	}
}

// Masks come from whole keys, and each pair of members has its own.
func TestWholeKeys(t *testing.T) {
	t.Parallel()
	c, all, _ := begin(t, 8, 0, 5)
	seen := map[[32]byte]bool{}
	for j := 1; j < 8; j++ {
		key, err := pairKey(c.clients[0].mask, all[j].Mask, c.p.Context())
		c.must(err)
		other, err := pairKey(c.clients[j].mask, all[0].Mask, c.p.Context())
		c.must(err)
		if key != other || seen[key] {
			t.Errorf("members 0 and %d: another key for each, or one that another pair has", j)
		}
		seen[key] = true
		for at := 0; at < 32; at += 4 {
			if bytes.Equal(key[at:at+4], make([]byte, 4)) {
				t.Errorf("bytes %d to %d of a key are 0", at, at+3)
			}
		}
	}
}

// After a crash at any step a member sends the same bytes again, from a directory.
func TestCrash(t *testing.T) {
	t.Parallel()
	c := newCast(t, 11, 5, 0, 3, 64, 20)
	for i := range c.journals {
		c.journals[i] = DirJournal(t.TempDir())
		c.clients[i] = c.client(i)
	}
	all := map[int]bool{0: true, 1: true, 2: true, 3: true, 4: true}
	c.check(c.play(map[int]Step{3: Masking}, all))
}

// Regions add up vectors of one round; the top alone can take the masks away.
func TestRegions(t *testing.T) {
	t.Parallel()
	c, all, parts := begin(t, 9, 0, 6)
	c.share(all, parts)
	var regions []*Region
	for range 2 {
		r, err := NewRegion(c.p)
		c.must(err)
		regions = append(regions, r)
	}
	for i, x := range c.clients {
		v, in, err := x.Mask(c.server.Inbox(i), c.words[i])
		c.must(err)
		switch {
		case i == 8: // straight to the top
			c.must(c.server.Mask(v, in))
		case i != 4: // lost on the way
			c.must(regions[i%2].Mask(v, in))
			c.must(regions[i%2].Mask(v, in))
			refused(t, regions[i%2].Mask(v[1:], in), core.Conflict, "something else")
		}
	}
	for _, r := range regions {
		c.must(c.server.MaskRegion(r.Close()))
		c.must(c.server.MaskRegion(r.Close()))
	}
	refused(t, regions[0].Mask(make([]byte, c.p.Packed()), Included{From: 4}), core.Conflict, "passed its sum on")
	mixed := regions[0].Close()
	mixed.From, mixed.Vectors = append(mixed.From, Included{From: 4}), append(mixed.Vectors, core.Digest{})
	refused(t, c.server.MaskRegion(mixed), core.Invalid, "in order")
	alive, err := c.server.CloseVectors()
	c.must(err)
	quorum := c.agree(alive)
	for _, i := range alive {
		o, err := c.clients[i].Open(alive, quorum)
		c.must(err)
		c.must(c.server.Open(o))
	}
	if slices.Contains(alive, 4) || len(alive) != 8 {
		t.Errorf("survivors %v", alive)
	}
	c.check(alive)
}
