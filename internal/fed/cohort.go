package fed

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"atoll/internal/core"
	"atoll/internal/secagg"
)

// cohort is who is added up together in an attempt at a round: all sites, or a group of
// them. It goes through its steps by itself. A site has its number in the run here; the
// messages of secure aggregation have that in the cohort.
type cohort struct {
	plan     *Plan
	members  []secagg.Member // of the run
	sites    []int
	names    []string
	ready    map[int]int          // by site, the round that its update is of, in an asynchronous run
	params   []byte               // of the model, as sites are told
	server   *secagg.Server       // if there are masks
	plain    map[int]*plainUpdate // by site, if there are none
	order    Order                // of the step under way, as all are told
	deadline time.Time            // of it
	waited   int                  // deadlines that have passed without enough openings
	out      map[int]string       // who takes no part any more
	sent     int64
	held     *Order // the last step, which waits for the other cohorts
	opened   bool   // its sum has been unmasked
	over     bool
	sum      *sum  // once it is over, if it has come to one
	failed   error // why it has not
}

// plainUpdate is what a site has sent without masks.
type plainUpdate struct {
	update []float32
	counts Counts
}

// sum is what a cohort has come to.
type sum struct {
	sites  []int
	update []float32 // the sum of theirs
	counts Counts
	digest core.Digest
}

// newCohort begins an attempt among some of the members.
func newCohort(p *Plan, at At, members []secagg.Member, sites []int, params []byte) (*cohort, error) {
	c := &cohort{plan: p, members: members, params: params, ready: map[int]int{}, plain: map[int]*plainUpdate{}, out: map[int]string{}}
	c.gather(sites)
	switch {
	case p.Spec.Async != nil:
		at.Step = StepReady
	case p.Spec.Secure.Off:
		at.Step = StepPlain
	default:
		at.Step = StepKeys
		c.order = Order{At: at}
		return c, c.serve(at)
	}
	c.order = Order{At: at, Params: params}
	return c, nil
}

// gather says who the cohort is.
func (c *cohort) gather(sites []int) {
	c.sites, c.names = sites, nil
	for _, i := range sites {
		c.names = append(c.names, c.members[i].Name)
	}
}

// serve begins secure aggregation.
func (c *cohort) serve(at At) (err error) {
	c.server, err = secagg.NewServer(c.plan.params(at.id(), c.members, c.sites))
	return err
}

// ask begins a step: it orders it of all who still take part.
func (c *cohort) ask(o Order, now time.Time) []Send {
	c.order, c.deadline = o, now.Add(time.Duration(c.plan.Spec.Deadline))
	return c.again()
}

// again are the orders that the step still waits for.
func (c *cohort) again() (out []Send) {
	for _, site := range c.missing() {
		o := c.order
		switch o.Step {
		case StepVector, StepSign, StepOpening:
			o.Inbox = c.server.Inbox(c.number(site))
		}
		if o.Step == StepSign {
			o.Included = c.server.Included(c.number(site))
		}
		out = append(out, Send{site, &o})
	}
	return out
}

// number is a site's in the cohort.
func (c *cohort) number(site int) int { return slices.Index(c.sites, site) }

// alive is how many sites are in the sum, or will be.
func (c *cohort) alive() int {
	if c.sum != nil {
		return len(c.sum.sites)
	}
	return len(c.held.Survivors)
}

// idle reports whether the cohort waits for no site.
func (c *cohort) idle() bool { return c.over || c.held != nil }

// missing are the sites that the step waits for.
func (c *cohort) missing() (out []int) {
	if c.idle() {
		return nil
	}
	lacks := func(i, site int) bool { return c.plain[site] == nil }
	switch {
	case c.order.Step == StepReady:
		lacks = func(_, site int) bool { return c.ready[site] == 0 }
	case c.server != nil:
		lack := c.server.Missing() // in order
		lacks = func(i, _ int) bool { _, ok := slices.BinarySearch(lack, i); return ok }
	}
	for i, site := range c.sites {
		if _, gone := c.out[site]; !gone && lacks(i, site) {
			out = append(out, site)
		}
	}
	return out
}

// take adds a reply to the step that it is for.
func (c *cohort) take(r *Reply) error {
	if c.over {
		return core.Errorf(core.Conflict, "a reply to the step %q, and the group's sum is closed", r.Step)
	}
	if r.Refused != "" {
		if r.Step == c.order.Step && slices.Contains(c.missing(), r.Site) {
			c.out[r.Site] = "it refuses: " + core.Clip(r.Refused, 500)
		}
		return nil
	}
	if r.Step == StepReady && c.plan.Spec.Async != nil {
		return c.takeReady(r)
	}
	if c.server == nil {
		return c.takePlain(r)
	}
	number := c.number(r.Site)
	empty := func(is bool) error {
		if is {
			return core.Errorf(core.Invalid, "a reply to the step %q without what it asks for", r.Step)
		}
		return nil
	}
	switch r.Step {
	case StepKeys:
		if err := empty(r.Keys == nil || r.Keys.From != number); err != nil {
			return err
		}
		return c.server.Advertise(*r.Keys)
	case StepLot:
		if err := empty(r.Part == nil || r.Part.From != number); err != nil {
			return err
		}
		return c.server.Reveal(*r.Part)
	case StepShares:
		return c.server.Share(number, r.Sealed)
	case StepVector:
		if err := empty(r.Included == nil || r.Included.From != number); err != nil {
			return err
		}
		err := c.server.Mask(r.Vector, *r.Included)
		if err == nil {
			c.sent += int64(len(r.Vector))
		}
		return err
	case StepSign:
		if err := empty(r.Agreement == nil || r.Agreement.From != number); err != nil {
			return err
		}
		return c.server.Agree(*r.Agreement)
	case StepOpening:
		if err := empty(r.Opening == nil || r.Opening.From != number); err != nil {
			return err
		}
		return c.server.Open(r.Opening)
	}
	return core.Errorf(core.Invalid, "a reply to the step %.40q, which there is not", r.Step)
}

// takePlain takes an update. A site whose update is none is out: it would not send another.
func (c *cohort) takePlain(r *Reply) error {
	if r.Step != StepPlain || c.order.Step != StepPlain {
		return core.Errorf(core.Invalid, "a reply to the step %.40q, and that of the round is %q", r.Step, c.order.Step)
	}
	if !slices.Contains(c.missing(), r.Site) {
		return nil
	}
	if update, counts, err := c.plan.readSent(r.Vector); err != nil {
		c.out[r.Site] = "its update is refused: " + err.Error()
	} else {
		c.sent += int64(len(r.Vector))
		c.plain[r.Site] = &plainUpdate{update, counts}
	}
	return nil
}

// maxWaits is for how many deadlines openings are waited for.
const maxWaits = 10

// expire has sites that have not answered by the deadline out of the step. Openings are
// asked for again, and waited for: there may be no other attempt. So are sites that train at
// their own pace.
func (c *cohort) expire(now time.Time) []Send {
	if c.order.Step == StepReady {
		return c.ask(c.order, now)
	}
	if c.order.Step == StepOpening && c.waited < maxWaits {
		c.waited++
		return c.ask(c.order, now)
	}
	for _, site := range c.missing() {
		c.out[site] = fmt.Sprintf("no %s within %s", c.order.Step, time.Duration(c.plan.Spec.Deadline))
	}
	return nil
}

// advance closes the step once nobody is waited for, and returns the orders of the next.
func (c *cohort) advance(now time.Time) []Send {
	if c.idle() || !c.closes() {
		return nil
	}
	next, err := c.close()
	switch {
	case err != nil || next == nil:
		c.over, c.failed = true, err
	case next.Step == StepOpening:
		c.held = next
	default:
		return c.ask(*next, now)
	}
	return nil
}

// closes reports whether the step waits for nobody any more. Who has not sent a vector when
// enough have is out.
func (c *cohort) closes() bool {
	missing := c.missing()
	if len(missing) == 0 {
		return true
	}
	enough, vectors := c.plan.Spec.Sites.Enough, len(c.plain)
	switch c.order.Step {
	case StepReady:
		return len(c.ready) >= c.plan.Drawn
	case StepOpening:
		return c.server.Openable()
	case StepVector:
		vectors = c.server.Masked()
	case StepPlain:
	default:
		return false
	}
	if enough == 0 || vectors < enough {
		return false
	}
	for _, site := range missing {
		c.out[site] = fmt.Sprintf("late: %d others had sent a vector before", vectors)
	}
	return true
}

// open begins the last step, if the cohort has come to it.
func (c *cohort) open(now time.Time) []Send {
	if c.held == nil {
		return nil
	}
	o := *c.held
	c.held = nil
	return c.ask(o, now)
}

// close ends the step, and returns the next one's order; nil: there is a sum.
func (c *cohort) close() (*Order, error) {
	o := c.order
	var err error
	switch o.Step {
	case StepReady:
		err = c.closeReady(&o)
	case StepKeys:
		o.Keys, err = c.server.CloseKeys()
		o.Step = StepLot
		if c.terms().degree == 0 {
			o.Step = StepShares
		}
	case StepLot:
		o.Parts, err = c.server.CloseLot()
		o.Step = StepShares
	case StepShares:
		o.Params, o.Step, err = c.params, StepVector, c.server.CloseShares()
	case StepVector:
		o.Survivors, err = c.server.CloseVectors()
		o.Params, o.Step = nil, StepSign
	case StepSign:
		o.Agreements, err = c.server.CloseAgreement()
		o.Step = StepOpening
	case StepOpening:
		return nil, c.unmask()
	case StepPlain:
		return nil, c.addPlain()
	}
	return &o, err
}

func (c *cohort) terms() terms { return c.plan.terms[len(c.sites)] }

// String names the cohort by its sites.
func (c *cohort) String() string { return "the sum of " + strings.Join(c.names, ", ") }
