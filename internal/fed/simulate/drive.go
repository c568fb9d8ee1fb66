package simulate

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/internal/core"
	"atoll/internal/fed"
)

// driver carries orders and replies until a run is over. Nothing is waited for: deadlines,
// and what sites take by Config.Delay, move a clock.
type driver struct {
	c      *Config
	r      *Result
	m      *fed.Machine
	sites  []*site
	at     time.Time     // the clock, with Config.Delay
	ahead  time.Duration // else how much it is ahead of the real one
	next   []*fed.Order  // that each site has not begun with
	flying []*flight     // replies on their way, by site
	newest []int         // in an asynchronous run, the round on whose parameters each site has trained
	told   int           // rounds that Config.Round was told of
}

// flight is a reply on its way.
type flight struct {
	lands time.Time
	reply *fed.Reply
}

func (d *driver) run(ctx context.Context) error {
	orders, err := d.m.Begin(d.now())
	for err == nil && !d.m.Over() {
		d.order(orders)
		if err = d.work(ctx); err != nil {
			return err
		}
		first, flies := d.first()
		if _, _, deadline := d.m.Waiting(); !flies || deadline.Before(first) {
			d.wait(deadline)
			orders, err = d.m.Tick(deadline)
		} else {
			d.wait(first)
			orders, err = d.land()
		}
		for s := d.m.State(); d.told < len(s.Rounds); d.told++ {
			if d.c.Round != nil {
				d.c.Round(s.Rounds[d.told])
			}
		}
	}
	if why := d.m.State().Stopped; err == nil && why != "" {
		return core.Errorf(core.Unavailable, "the federation has stopped: %s", why)
	}
	return err
}

func (d *driver) now() time.Time {
	if d.c.Delay != nil {
		return d.at
	}
	return time.Now().Add(d.ahead)
}

// wait sets the clock to a time to come.
func (d *driver) wait(t time.Time) {
	d.at = t
	d.ahead += max(t.Sub(d.now()), 0)
}

// order gives sites their orders. What a site works at is given up for a newer order, or if
// it is of use to it comes first.
func (d *driver) order(orders []fed.Send) {
	for _, o := range orders {
		if d.c.Drop == nil || !d.c.Drop(o.Site, o.Order) {
			f := d.flying[o.Site]
			if f != nil && f.reply.At == o.Order.At {
				continue
			}
			if d.next[o.Site] = o.Order; f != nil && !f.reply.Step.Lasting() {
				d.flying[o.Site] = nil
			}
		}
	}
}

// work has sites answer their orders, several at a time.
func (d *driver) work(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, o := range d.next {
		if o == nil || d.flying[i] != nil {
			continue
		}
		d.next[i], d.flying[i] = nil, &flight{lands: d.now()}
		g.Go(func() error {
			began, f := time.Now(), d.flying[i]
			f.reply = d.sites[i].Handle(ctx, o)
			if d.c.Worked != nil {
				d.c.Worked(i, time.Since(began))
			}
			if d.c.Delay != nil {
				f.lands = f.lands.Add(d.c.Delay(i, f.reply, d.trained(i, f.reply)))
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// trained reports whether a site has trained for a reply.
func (d *driver) trained(site int, r *fed.Reply) bool {
	switch {
	case r.Round > d.c.Spec.Rounds:
		return false
	case d.c.Spec.Async == nil:
		return len(r.Vector) > 0
	case r.Step != fed.StepReady || r.Version != r.Round || d.newest[site] == r.Version:
		return false
	}
	d.newest[site] = r.Version
	return true
}

// first is when the next reply lands.
func (d *driver) first() (at time.Time, flies bool) {
	for _, f := range d.flying {
		if f != nil && (!flies || f.lands.Before(at)) {
			at, flies = f.lands, true
		}
	}
	return at, flies
}

// land has the hub take the replies that have come.
func (d *driver) land() (orders []fed.Send, err error) {
	now := d.now()
	for i, f := range d.flying {
		if f == nil || f.lands.After(now) {
			continue
		}
		d.flying[i] = nil
		if d.c.Seen != nil {
			d.c.Seen(f.reply)
		}
		began := time.Now()
		more, err := d.m.Receive(f.reply, d.now())
		d.r.Hub += time.Since(began)
		if err != nil && core.KindOf(err) != core.Conflict { // a late opening, say
			return nil, err
		}
		orders = append(orders, more...)
	}
	return orders, nil
}
