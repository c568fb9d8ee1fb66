package webhook

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Outbox is where deliveries wait, durably. Due returns deliveries whose time
// has come: the oldest of each account, then the second of each, and so on. It
// goes on returning one until Done, Retry or Dead has been called for it. If several dispatchers share an outbox, it must give each
// delivery to one of them.
type Outbox interface {
	Due(ctx context.Context, now time.Time, limit int) ([]Delivery, error)
	Done(ctx context.Context, id string) error
	// Retry makes the delivery due again at a time, with one more attempt made.
	Retry(ctx context.Context, id string, at time.Time, cause error) error
	// Dead gives the delivery up.
	Dead(ctx context.Context, id string, reason string) error
}

// DispatcherConfig configures a Dispatcher. All but Outbox and Send have defaults.
type DispatcherConfig struct {
	Outbox Outbox
	Send   func(ctx context.Context, d Delivery, now time.Time) Result // Sender.Send

	Concurrency int              // attempts at once; 64
	PerAccount  int              // of them for one account, whose hosts may all be dead; 8
	PerHost     int              // of them to one host, so that a slow one cannot hold them all; 4
	Poll        time.Duration    // how often the outbox is looked at unasked; 1 s
	Now         func() time.Time // time.Now
	Log         *slog.Logger     // slog.Default()
}

const (
	defaultConcurrency = 64
	defaultPerAccount  = 8
	defaultPerHost     = 4
	defaultPoll        = time.Second
	// maxWindow bounds how many due deliveries are held in memory to find one
	// whose account and host are not busy.
	maxWindow     = 4096
	recordTimeout = 5 * time.Second
)

// Dispatcher empties an outbox. Nothing that it knows needs to survive it: a
// delivery whose outcome was not recorded is sent again, under the same ID.
type Dispatcher struct {
	c    DispatcherConfig
	wake chan struct{}
	done chan Delivery

	// Owned by Run's goroutine.
	inFlight  map[string]bool // by delivery ID
	byAccount map[string]int  // of those
	byHost    map[string]int
	queue     []waiting // due when last looked, in the outbox's order, and not begun
}

// waiting is a delivery with its host.
type waiting struct {
	Delivery
	host string
}

// NewDispatcher returns a dispatcher; Run starts it.
func NewDispatcher(c DispatcherConfig) (*Dispatcher, error) {
	if c.Outbox == nil || c.Send == nil || min(c.Concurrency, c.PerAccount, c.PerHost) < 0 || c.Poll < 0 {
		return nil, errors.New("webhook: a dispatcher needs an outbox and a sender, and its limits must not be negative")
	}
	if c.Concurrency == 0 {
		c.Concurrency = defaultConcurrency
	}
	if c.PerAccount == 0 {
		c.PerAccount = defaultPerAccount
	}
	if c.PerHost == 0 {
		c.PerHost = defaultPerHost
	}
	if c.Poll == 0 {
		c.Poll = defaultPoll
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Dispatcher{
		c: c, wake: make(chan struct{}, 1), done: make(chan Delivery),
		inFlight: map[string]bool{}, byAccount: map[string]int{}, byHost: map[string]int{},
	}, nil
}

// Wake makes Run look at the outbox now. It never blocks.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends, and returns when every attempt has ended too. It
// is called once.
func (d *Dispatcher) Run(ctx context.Context) {
	var wg sync.WaitGroup
	poll := time.NewTicker(d.c.Poll)
	defer poll.Stop()
	for stale := true; ctx.Err() == nil; {
		// Not while all are busy: whoever is new then must be seen when one is free.
		if (stale || len(d.queue) == 0) && len(d.inFlight) < d.c.Concurrency {
			d.look(ctx)
			stale = false
		}
		d.start(ctx, &wg)
		select {
		case <-ctx.Done():
		case <-d.wake:
			stale = true
		case <-poll.C:
			stale = true
		case x := <-d.done:
			d.finished(x)
		}
	}
	go func() { wg.Wait(); close(d.done) }()
	for x := range d.done {
		d.finished(x)
	}
}

func (d *Dispatcher) finished(x Delivery) {
	delete(d.inFlight, x.ID)
	release(d.byAccount, x.Account)
	release(d.byHost, hostOf(x.URL))
}

// release counts down, and forgets what is no longer in use.
func release(count map[string]int, key string) {
	if count[key]--; count[key] == 0 {
		delete(count, key)
	}
}

// look refills the queue from the outbox. If deliveries that must wait stand in
// front, it looks further back, so that they do not hold up the others.
func (d *Dispatcher) look(ctx context.Context) {
	free := d.c.Concurrency - len(d.inFlight)
	for window := 2 * d.c.Concurrency; ; window *= 2 {
		due, err := d.c.Outbox.Due(ctx, d.c.Now(), window)
		if err != nil {
			if ctx.Err() == nil {
				d.c.Log.ErrorContext(ctx, "webhook: the outbox cannot be read", "error", err)
			}
			return
		}
		d.queue = d.queue[:0]
		ready := 0
		for _, x := range due {
			if !d.inFlight[x.ID] {
				w := waiting{x, hostOf(x.URL)}
				d.queue = append(d.queue, w)
				if d.mayStart(&w) {
					ready++
				}
			}
		}
		if ready >= free || len(due) < window || window >= maxWindow {
			return
		}
	}
}

func (d *Dispatcher) mayStart(w *waiting) bool {
	return d.byAccount[w.Account] < d.c.PerAccount && d.byHost[w.host] < d.c.PerHost
}

// start begins as many attempts of the queue as are allowed.
func (d *Dispatcher) start(ctx context.Context, wg *sync.WaitGroup) {
	for len(d.inFlight) < d.c.Concurrency {
		i := d.next()
		if i < 0 {
			return
		}
		w := d.queue[i]
		d.queue = slices.Delete(d.queue, i, i+1)
		d.inFlight[w.ID] = true
		d.byAccount[w.Account]++
		d.byHost[w.host]++
		wg.Go(func() { d.attempt(ctx, w.Delivery) })
	}
}

// next is the place in the queue of the first delivery of the account that has
// the fewest attempts in flight, of those that may start; -1 if none may.
func (d *Dispatcher) next() int {
	best := -1
	for i := range d.queue {
		w := &d.queue[i]
		if d.mayStart(w) && (best < 0 || d.byAccount[w.Account] < d.byAccount[d.queue[best].Account]) {
			best = i
		}
	}
	return best
}

// attempt sends x and records what came of it.
func (d *Dispatcher) attempt(ctx context.Context, x Delivery) {
	defer func() { d.done <- x }()
	r := d.c.Send(ctx, x, d.c.Now())
	if r.Outcome != Done && ctx.Err() != nil {
		return // cut off by the shutdown: no attempt at all
	}
	// A success is recorded also while shutting down: it spares the receiver a repeat.
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := d.record(rctx, x, r); err != nil {
		d.c.Log.ErrorContext(ctx, "webhook: the outcome could not be stored, so it will be sent again", "webhook_id", x.ID, "error", err)
		// Not at once, or a broken outbox would flood the receiver.
		select {
		case <-ctx.Done():
		case <-time.After(d.c.Poll):
		}
	}
}

func (d *Dispatcher) record(ctx context.Context, x Delivery, r Result) error {
	log := d.c.Log.With("webhook_id", x.ID, "host", hostOf(x.URL), "attempt", x.Attempt+1, "status", r.Status)
	switch r.Outcome {
	case Done:
		log.DebugContext(ctx, "webhook delivered")
		return d.c.Outbox.Done(ctx, x.ID)
	case Dead:
		log.WarnContext(ctx, "webhook given up", "error", r.Err)
		return d.c.Outbox.Dead(ctx, x.ID, r.Err.Error())
	}
	delay, giveUp := Next(x.Attempt+1, seed(x.ID))
	if giveUp {
		log.WarnContext(ctx, "webhook given up", "error", r.Err)
		return d.c.Outbox.Dead(ctx, x.ID, fmt.Sprintf("given up after %d attempts; the last: %v", x.Attempt+1, r.Err))
	}
	log.InfoContext(ctx, "webhook failed", "error", r.Err, "again_in", delay)
	return d.c.Outbox.Retry(ctx, x.ID, d.c.Now().Add(delay), r.Err)
}

func seed(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return h.Sum64()
}

// hostOf is whom deliveries must not overrun, and what may be logged of a URL.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(no URL)"
	}
	return u.Hostname()
}
