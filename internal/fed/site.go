package fed

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"atoll/internal/codec"
	"atoll/internal/core"
	"atoll/internal/learn"
	"atoll/internal/privacy"
	"atoll/internal/repro"
	"atoll/internal/secagg"
)

// Rows are what a site has, for training and for measuring.
type Rows struct {
	Train, Held *learn.Examples
}

// SiteConfig is what a site is made of.
type SiteConfig struct {
	Plan    *Plan
	Members []secagg.Member // as its owner has agreed to: not from the hub's word
	Name    string          // its own, among them
	Sign    func([]byte) ([]byte, error)
	Rows    *Rows
	Pool    *repro.Pool
	// Journal is that of an attempt at a round, or of the round itself. Those of rounds
	// before Plan.Oldest are not asked for any more.
	Journal func(round int, id core.Digest) (secagg.Journal, error)
	// Rest is a slot of the run's own, where Plan.Feeds.
	Rest Slot
	// Spend has the dataset's owner agree to what an attempt costs, durably; nil if the Spec
	// asks for no privacy, or nobody counts.
	Spend func(privacy.Charge) error
}

// Site is an owner's side of a run. It is not safe for concurrent use.
type Site struct {
	c      SiteConfig
	self   int
	run    core.Digest
	client *secagg.Client // of the attempt
	at     core.Digest
	shared bool // the client has what came before its vector, be it anew
	inbox  bool
}

// NewSite takes part in a run.
func NewSite(c SiteConfig) (*Site, error) {
	self := slices.IndexFunc(c.Members, func(m secagg.Member) bool { return m.Name == c.Name })
	if self < 0 {
		return nil, core.Errorf(core.Forbidden, "%s is no site of this federation", c.Name)
	}
	classes := len(c.Plan.Model.Classes)
	if err := c.Rows.Train.CheckTrainable(classes); err != nil {
		return nil, core.Errorf(core.Invalid, "%s: %w", c.Name, err)
	}
	run, err := c.Plan.RunID(c.Members)
	return &Site{c: c, self: self, run: run}, err
}

// Handle answers an order. What keeps the site from it is in the Reply, too: the hub need
// not wait for it. Who has a newer order may cancel an older one by its context, unless
// what it does is Lasting.
func (s *Site) Handle(ctx context.Context, o *Order) *Reply {
	r := &Reply{At: o.At, Site: s.self}
	if err := s.handle(ctx, o, r); err != nil {
		return &Reply{At: o.At, Site: s.self, Refused: err.Error()}
	}
	return r
}

func (s *Site) handle(ctx context.Context, o *Order, r *Reply) (err error) {
	if o.Run != s.run {
		return core.Errorf(core.Forbidden, "the order is of another run than this site takes part in")
	}
	if o.Round < 1 || o.Round > s.c.Plan.Spec.Rounds+1 || o.Attempt < 1 || o.Attempt > maxAttempts {
		return core.Errorf(core.Invalid, "round %d, attempt %d: the federation has %d rounds, and begins none more than %d times", o.Round, o.Attempt, s.c.Plan.Spec.Rounds, maxAttempts)
	}
	if o.Step == StepReady && s.c.Plan.Spec.Async == nil {
		return core.Errorf(core.Invalid, "a step %q in a federation whose sites do not train at their own pace", o.Step)
	}
	if s.c.Plan.Spec.Secure.Off {
		return s.plain(ctx, o, r)
	}
	if err := s.once(o, false); err != nil {
		return err
	}
	if o.Step == StepReady {
		return s.ready(ctx, o, r)
	}
	if err := s.attempt(o); err != nil {
		return err
	}
	if o.Step != StepKeys && o.Step != StepLot && !s.shared { // after a crash
		if _, err := s.client.Share(o.Keys, o.Parts); err != nil {
			return err
		}
		s.shared = true
	}
	if (o.Step == StepSign || o.Step == StepOpening) && !s.inbox {
		if err := s.client.Receive(o.Inbox); err != nil {
			return err
		}
		s.inbox = true
	}
	switch o.Step {
	case StepKeys:
		k, err := s.client.Advertise()
		r.Keys = &k
		return err
	case StepLot:
		p, err := s.client.Reveal(o.Keys)
		r.Part = &p
		return err
	case StepShares:
		r.Sealed, err = s.client.Share(o.Keys, o.Parts)
		return err
	case StepVector:
		var in secagg.Included
		r.Vector, in, err = s.vector(ctx, o)
		r.Included = &in
		return err
	case StepSign:
		a, err := s.client.Agree(o.Survivors, o.Included)
		r.Agreement = &a
		return err
	case StepOpening:
		if err := s.forward(o); err != nil {
			return err
		}
		if r.Opening, err = s.client.Open(o.Survivors, o.Agreements); err == nil {
			err = s.once(o, true)
		}
		return err
	}
	return core.Errorf(core.Invalid, "a step %.40q, which there is not", o.Step)
}

// once has a site give its shares away in one attempt at a round alone. From two sums over
// other survivors the hub would learn the update of those who are in one of them: for the
// round's updates are the same.
func (s *Site) once(o *Order, opens bool) error {
	j, err := s.journal(o.Round)
	if err != nil {
		return err
	}
	id := o.id()
	kept, err := j.Kept(openedName)
	if err == nil && kept == nil && opens {
		kept, err = j.Once(openedName, id[:])
	}
	if err == nil && kept != nil && !bytes.Equal(kept, id[:]) {
		err = core.Errorf(core.Conflict, "this site has opened the masks of another attempt at round %d: with both sums the hub could tell single updates", o.Round)
	}
	return err
}

// openedName is what a round's journal has the attempt under whose masks were opened.
const openedName = "opened"

// forward has a site go on to later attempts at a round only: it opens none after it has
// sent a vector in a later one. Members of attempts differ where they are drawn, dealt or
// buffered. So those who have opened one are in the sum of no later one, with vectors sent
// before or after; and of several sums, of which the hub might make one of few, the first
// has at least all honest ones who opened it more than the others.
func (s *Site) forward(o *Order) error {
	j, err := s.journal(o.Round)
	for a := o.Attempt + 1; err == nil && a <= maxAttempts; a++ {
		var sent []byte
		if sent, err = j.Kept(sentName(a)); err == nil && sent != nil {
			err = core.Errorf(core.Conflict, "this site has sent a vector at attempt %d at round %d: it opens no masks of an earlier one", a, o.Round)
		}
	}
	return err
}

// sentName is what a round's journal has of an attempt in which a vector was sent.
func sentName(attempt int) string { return fmt.Sprintf("vector-%d", attempt) }

// attempt takes up the one that an order is of.
func (s *Site) attempt(o *Order) error {
	id := o.id()
	if s.client != nil && s.at == id {
		return nil
	}
	j, err := s.c.Journal(o.Round, id)
	if err != nil {
		return err
	}
	group, err := s.c.Plan.groupOf(s.self, o)
	if err != nil {
		return err
	}
	c, err := secagg.NewClient(s.c.Plan.params(id, s.c.Members, group), s.c.Name, s.c.Sign, rand.Reader, j)
	if err != nil {
		return err
	}
	s.client, s.at, s.shared, s.inbox = c, id, false, false
	return nil
}

// vector trains, and hides what came of it. A vector that was sent before is sent again.
func (s *Site) vector(ctx context.Context, o *Order) (vector []byte, in secagg.Included, err error) {
	words := make([]uint32, s.c.Plan.Dim())
	before, err := s.client.MaskedBefore()
	if err != nil {
		return nil, in, err
	}
	if before == nil {
		if words, err = s.words(ctx, o); err != nil {
			return nil, in, err
		}
		j, err := s.journal(o.Round)
		if err != nil {
			return nil, in, err
		}
		if _, err := j.Once(sentName(o.Attempt), []byte{1}); err != nil {
			return nil, in, err
		}
	}
	return s.client.Mask(o.Inbox, words)
}

func (s *Site) plain(ctx context.Context, o *Order, r *Reply) (err error) {
	if o.Step == StepReady {
		return s.ready(ctx, o, r)
	}
	if o.Step != StepPlain {
		return core.Errorf(core.Invalid, "a step %.40q in a federation without masks", o.Step)
	}
	if _, err := s.c.Plan.groupOf(s.self, o); err != nil {
		return err
	}
	if r.Vector, err = s.sentBefore(o.Round); err != nil || r.Vector != nil {
		return err
	}
	update, c, err := s.work(ctx, o)
	if err != nil {
		return err
	}
	if s.c.Plan.bounded() {
		if _, err := codec.Clip(update, s.c.Plan.Spec.Secure.Clip); err != nil {
			return fmt.Errorf("the update: %w", err)
		}
	}
	r.Vector, err = s.plainVector(o.Round, update, c)
	return err
}
