package secagg

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"io"
	"slices"

	"atoll/internal/core"
	"atoll/internal/planted"
)

// Client is a member's side of one round. Its methods are called in the order of the
// package comment; each may be called again, also by another Client over the same
// Journal after a crash, and then says the same as before, or refuses. It is not safe for
// concurrent use.
//
// Errors of kind core.Conflict mean that the hub contradicts itself: there is no use in
// going on with this round.
type Client struct {
	p       *Params
	self    int
	sign    func([]byte) ([]byte, error)
	j       Journal
	context core.Digest
	root    []byte // all that the round needs is derived from it
	box     *ecdh.PrivateKey
	mask    *ecdh.PrivateKey
	ownMask secret
	maskKey secret // that mask is derived from

	keys   []Keys // of those who take part, by number of the entry
	known  map[int]*Keys
	all    core.Digest    // of keys
	near   []int          // neighbours, in order
	boxes  []boxKey       // in common with each of them
	inbox  map[int]shares // by who has sent them
	shared []int          // neighbours who have
}

// shares are what a member has of another.
type shares struct{ own, mask secret }

// NewClient begins a round, or goes on with it. sign signs with the key that
// Params.Members has of the name; random is asked for 32 bytes where the journal has none.
func NewClient(p *Params, name string, sign func([]byte) ([]byte, error), random io.Reader, j Journal) (*Client, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	self := slices.IndexFunc(p.Members, func(m Member) bool { return m.Name == name })
	if self < 0 {
		return nil, core.Errorf(core.Forbidden, "%s is no member of this round", name)
	}
	c := &Client{p: p, self: self, sign: sign, j: j, context: p.Context()}
	fresh := make([]byte, 32, 64)
	if _, err := io.ReadFull(random, fresh); err != nil {
		return nil, err
	}
	kept, err := j.Once("root", append(fresh, c.context[:]...))
	if err != nil {
		return nil, err
	}
	if len(kept) != 64 || !bytes.Equal(kept[32:], c.context[:]) {
		return nil, core.Errorf(core.Conflict, "the journal of %s is of another round: each round needs one of its own", name)
	}
	c.root = kept[:32]
	c.box = privateKey(derive(c.root, c.context, "box key"))
	c.ownMask, c.maskKey = element(c.root, c.context, "own mask"), element(c.root, c.context, "mask secret")
	c.mask = maskKey(c.maskKey, c.context)
	return c, nil
}

// Advertise is a member's first word.
func (c *Client) Advertise() (k Keys, err error) {
	k = c.own()
	k.Sig, err = c.sign(k.statement(c.context))
	return k, err
}

// own are the member's keys, not signed.
func (c *Client) own() Keys {
	k := Keys{From: c.self, Box: c.box.PublicKey().Bytes(), Mask: c.mask.PublicKey().Bytes(), Own: digestOwn(c.ownMask)}
	if c.p.Degree > 0 {
		k.Commit = commitment(c.part())
	}
	return k
}

func (c *Client) part() [32]byte { return derive(c.root, c.context, "part") }

// join takes the keys of those who take part.
func (c *Client) join(all []Keys) error {
	if len(all) < c.p.Threshold {
		return core.Errorf(core.Invalid, "%d members take part: %d must", len(all), c.p.Threshold)
	}
	known := map[int]*Keys{}
	for i := range all {
		k := &all[i]
		if k.From < 0 || k.From >= len(c.p.Members) || i > 0 && all[i-1].From >= k.From {
			return core.Errorf(core.Invalid, "keys of member %d: want each member once, in order", k.From)
		}
		known[k.From] = k
	}
	own := c.own()
	switch {
	case known[c.self] == nil:
		return core.Errorf(core.Invalid, "the round goes on without this member")
	case !bytes.Equal(known[c.self].statement(c.context), own.statement(c.context)):
		return core.Errorf(core.Forbidden, "the hub shows other keys of this member than it has sent")
	}
	digest := digestKeys(all)
	if err := same(c.j, "keys", digest[:], "the hub has shown other keys before"); err != nil {
		return err
	}
	c.keys, c.known, c.all = all, known, digest
	return nil
}

// Reveal shows the member's part of the lot, once it knows that nobody can choose theirs
// any more. It is only for rounds with a Degree.
func (c *Client) Reveal(all []Keys) (p Part, err error) {
	if c.p.Degree == 0 {
		return p, core.Errorf(core.Invalid, "a round in which everybody is everybody's neighbour has no lot")
	}
	if err := c.join(all); err != nil {
		return p, err
	}
	p = Part{From: c.self, Part: c.part()}
	p.Sig, err = c.sign(p.statement(c.context, c.all))
	return p, err
}

// Share seals for each neighbour its shares of this member's secrets. parts are needed
// with a Degree, from all who take part.
func (c *Client) Share(all []Keys, parts []Part) ([]Sealed, error) {
	if err := c.join(all); err != nil {
		return nil, err
	}
	if err := c.draw(parts); err != nil {
		return nil, err
	}
	own, err := newSplit(c.ownMask, c.p.Shares, c.root, c.context, "own")
	if err != nil {
		return nil, err
	}
	mask, err := newSplit(c.maskKey, c.p.Shares, c.root, c.context, "mask")
	if err != nil {
		return nil, err
	}
	out, boxes := make([]Sealed, len(c.near)), make([]boxKey, len(c.near))
	if err := each(len(c.near), func(i int) (err error) {
		j := c.near[i]
		if err := c.authentic(j, parts); err != nil {
			return err
		}
		if boxes[i], err = agreed(c.box, c.known[j].Box); err != nil {
			return core.Errorf(core.Invalid, "%s: %w", c.p.Members[j].Name, err)
		}
		a, b := own.at(j), mask.at(j)
		out[i] = Sealed{From: c.self, To: j, Box: boxes[i].seal(c.context, c.self, j, append(a[:], b[:]...))}
		return nil
	}); err != nil {
		return nil, err
	}
	if len(out) < c.p.Shares {
		return nil, core.Errorf(core.Unavailable, "%d neighbours take part: %d must", len(out), c.p.Shares)
	}
	c.boxes = boxes
	return out, nil
}

// draw orders the ring.
func (c *Client) draw(parts []Part) error {
	if c.p.Degree == 0 {
		c.near = neighbours(newGraph(len(c.p.Members), 0, core.Digest{}), c.keys, c.self)
		return nil
	}
	if len(parts) != len(c.keys) {
		return core.Errorf(core.Invalid, "%d parts of the lot of %d members: who does not show theirs has the round begin anew", len(parts), len(c.keys))
	}
	for i := range parts {
		if p, k := &parts[i], &c.keys[i]; p.From != k.From || commitment(p.Part) != k.Commit {
			return core.Errorf(core.Invalid, "part %d of the lot is not what member %d has committed itself to", i, k.From)
		}
	}
	seed := lot(c.context, parts)
	if err := same(c.j, "lot", seed[:], "the hub has shown another lot before"); err != nil {
		return err
	}
	c.near = neighbours(newGraph(len(c.keys), degreeOf(c.p, len(c.keys)), seed), c.keys, c.self)
	return nil
}

// authentic checks that a neighbour's keys are its own. On a ring it must also have seen
// the keys that this member has, and so be on the same ring: it signs them all together
// with its part, once its own are among them, and so need not be asked for those again.
func (c *Client) authentic(j int, parts []Part) error {
	m := &c.p.Members[j]
	if c.p.Degree == 0 {
		k := c.known[j]
		if err := m.Key.Verify(k.statement(c.context), k.Sig); err != nil {
			return core.Errorf(core.Forbidden, "the keys of %s are not signed by it: %w", m.Name, err)
		}
		return nil
	}
	at, _ := slices.BinarySearchFunc(parts, j, func(p Part, m int) int { return p.From - m })
	if err := m.Key.Verify(parts[at].statement(c.context, c.all), parts[at].Sig); err != nil {
		return core.Errorf(core.Conflict, "%s has not signed its part of the lot for these keys: %w", m.Name, err)
	}
	return nil
}

// neighbours translates a graph over those who take part into members.
func neighbours(g *graph, keys []Keys, member int) (out []int) {
	if g.degree == 0 {
		for i := range keys {
			if keys[i].From != member {
				out = append(out, keys[i].From)
			}
		}
		return out
	}
	at, _ := slices.BinarySearchFunc(keys, member, func(k Keys, m int) int { return k.From - m })
	for _, i := range g.neighbours(at) {
		out = append(out, keys[i].From)
	}
	return out
}

// Mask takes what neighbours have sealed for this member, and hides words, which are not
// changed. Share has been called before. Once a vector was masked, it is that one, whatever
// the words: MaskedBefore tells without them. The second result says whose masks it has.
func (c *Client) Mask(inbox []Sealed, words []uint32) (vector []byte, in Included, err error) {
	if len(words) != c.p.Dim {
		return nil, in, core.Errorf(core.Invalid, "a vector of %d words: want %d", len(words), c.p.Dim)
	}
	if err := c.Receive(inbox); err != nil {
		return nil, in, err
	}
	terms, err := c.masks()
	if err != nil {
		return nil, in, err
	}
	sum := slices.Clone(words)
	apply(sum, terms)
	vector = pack(sum, c.p.Bits)
	if !planted.SecondVector {
		if vector, err = c.j.Once("vector", vector); err != nil {
			return nil, in, err
		}
	}
	in, err = c.included()
	return vector, in, err
}

// masks are all that hide the vector: the member's own, and those of pairs.
func (c *Client) masks() ([]term, error) {
	terms := make([]term, 1+len(c.shared))
	terms[0].key = ownKey(c.ownMask, c.context)
	err := each(len(c.shared), func(i int) error {
		j := c.shared[i]
		key, err := pairKey(c.mask, c.known[j].Mask, c.context)
		if err != nil {
			return core.Errorf(core.Invalid, "%s: %w", c.p.Members[j].Name, err)
		}
		terms[1+i] = term{key: key, negate: c.self > j}
		return nil
	})
	return terms, err
}

func (c *Client) included() (in Included, err error) {
	in = Included{From: c.self, Without: lacking(c.near, c.inbox)}
	in.Sig, err = c.sign(in.statement(c.context))
	return in, err
}

// MaskedBefore returns the vector that was masked, maybe in an earlier life; nil: none was.
func (c *Client) MaskedBefore() ([]byte, error) { return c.j.Kept("vector") }

// Receive takes what neighbours have sealed for this member. Mask does it by itself; after
// a crash it is to be done again before Agree or Open.
func (c *Client) Receive(inbox []Sealed) error {
	if c.boxes == nil {
		return core.Errorf(core.Invalid, "shares have come before the keys")
	}
	from := make([]int, len(inbox))
	var names []byte
	for i, x := range inbox {
		if _, ok := slices.BinarySearch(c.near, x.From); !ok || x.To != c.self || i > 0 && from[i-1] >= x.From {
			return core.Errorf(core.Invalid, "shares from member %d to %d: want those of neighbours for this one, in order", x.From, x.To)
		}
		from[i] = x.From
		names = binary.LittleEndian.AppendUint64(names, uint64(x.From))
	}
	opened := make([]shares, len(inbox))
	if err := each(len(inbox), func(i int) error {
		at, _ := slices.BinarySearch(c.near, from[i])
		b, err := c.boxes[at].open(c.context, from[i], c.self, inbox[i].Box)
		if err != nil || len(b) != 2*secretSize {
			return core.Errorf(core.Invalid, "what %s has sealed cannot be opened", c.p.Members[from[i]].Name)
		}
		opened[i] = shares{secret(b[:secretSize]), secret(b[secretSize:])}
		return nil
	}); err != nil {
		return err
	}
	if len(from) < c.p.Shares {
		return core.Errorf(core.Unavailable, "%d neighbours have shared their secrets: %d must", len(from), c.p.Shares)
	}
	if err := same(c.j, "shared", names, "the hub has shown the shares of others before"); err != nil {
		return err
	}
	c.inbox, c.shared = make(map[int]shares, len(from)), from
	for i, j := range from {
		c.inbox[j] = opened[i]
	}
	return nil
}

// Agree signs who has sent a vector. Another set is refused from then on. included are
// those of the neighbours among the survivors: whose vectors must have this member's masks,
// as its own has theirs.
func (c *Client) Agree(survivors []int, included []Included) (a Agreement, err error) {
	if err := c.checkSurvivors(survivors); err != nil {
		return a, err
	}
	if err := c.checkIncluded(survivors, included); err != nil {
		return a, err
	}
	digest := digestSet(survivors)
	if err := same(c.j, "survivors", digest[:], "the hub has named other survivors before"); err != nil {
		return a, err
	}
	a = Agreement{From: c.self}
	a.Sig, err = c.sign(a.statement(c.context, digest))
	return a, err
}

func (c *Client) checkIncluded(survivors []int, included []Included) error {
	var near []int
	for _, j := range c.near {
		if _, survived := slices.BinarySearch(survivors, j); survived {
			near = append(near, j)
		}
	}
	if len(included) != len(near) {
		return core.Errorf(core.Invalid, "%d neighbours say whose masks they have: want %d", len(included), len(near))
	}
	for i := range included {
		x, m := &included[i], &c.p.Members[near[i]]
		if x.From != near[i] || slices.Contains(x.Without, c.self) {
			return core.Errorf(core.Conflict, "the vector of %s is without this member's mask, or it does not say so", m.Name)
		}
	}
	return each(len(near), func(i int) error {
		x, m := &included[i], &c.p.Members[near[i]]
		if err := m.Key.Verify(x.statement(c.context), x.Sig); err != nil {
			return core.Errorf(core.Forbidden, "%s has not signed whose masks it has: %w", m.Name, err)
		}
		return nil
	})
}

func (c *Client) checkSurvivors(survivors []int) error {
	if err := checkSet(survivors, len(c.p.Members), "survivors"); err != nil {
		return err
	}
	if len(survivors) < c.p.Threshold {
		return core.Errorf(core.Invalid, "%d members have sent a vector: %d must", len(survivors), c.p.Threshold)
	}
	if _, ok := slices.BinarySearch(survivors, c.self); !ok {
		return core.Errorf(core.Invalid, "the survivors are without this member")
	}
	if c.inbox == nil {
		return core.Errorf(core.Invalid, "survivors are named before shares have come")
	}
	for _, j := range survivors {
		if c.known[j] == nil {
			return core.Errorf(core.Conflict, "%s is named as a survivor, and was not there in the beginning", c.p.Members[j].Name)
		}
	}
	for _, j := range c.near { // else the hub could cut members off by keeping shares back
		if _, survived := slices.BinarySearch(survivors, j); !survived {
			continue
		}
		if _, ok := c.inbox[j]; !ok {
			return core.Errorf(core.Conflict, "%s is named as a survivor, and its shares have not come", c.p.Members[j].Name)
		}
	}
	return nil
}

// Open gives this member's shares away, if enough members have signed the survivors that
// it has signed. agreements are in the order of members.
func (c *Client) Open(survivors []int, agreements []Agreement) (*Opening, error) {
	if err := c.checkSurvivors(survivors); err != nil {
		return nil, err
	}
	digest := digestSet(survivors)
	kept, err := c.j.Kept("survivors")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(kept, digest[:]) && !planted.BothShares {
		return nil, core.Errorf(core.Conflict, "this member has signed other survivors, or none")
	}
	if err := c.checkAgreements(survivors, agreements, digest); err != nil {
		return nil, err
	}
	o := &Opening{From: c.self, Own: map[int]secret{}, Masks: map[int]secret{}}
	for _, j := range c.shared {
		if _, survived := slices.BinarySearch(survivors, j); survived {
			o.Own[j] = c.inbox[j].own
		} else {
			o.Masks[j] = c.inbox[j].mask
		}
	}
	return o, nil
}

func (c *Client) checkAgreements(survivors []int, agreements []Agreement, digest core.Digest) error {
	if len(agreements) < c.p.Threshold {
		return core.Errorf(core.Invalid, "%d members have signed the survivors: %d must", len(agreements), c.p.Threshold)
	}
	agreements = agreements[:c.p.Threshold] // more tell nothing
	for i, a := range agreements {
		if _, ok := slices.BinarySearch(survivors, a.From); !ok || i > 0 && agreements[i-1].From >= a.From {
			return core.Errorf(core.Invalid, "a signature of member %d: want those of survivors, in order", a.From)
		}
	}
	return each(len(agreements), func(i int) error {
		a, m := &agreements[i], &c.p.Members[agreements[i].From]
		if err := m.Key.Verify(a.statement(c.context, digest), a.Sig); err != nil {
			return core.Errorf(core.Forbidden, "%s has not signed these survivors: %w", m.Name, err)
		}
		return nil
	})
}
