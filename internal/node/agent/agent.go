package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"atoll/internal/blob/swarm"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/peer"
	"atoll/internal/peer/probe"
	"atoll/internal/shard/charter"
)

// ErrDied is the end of an agent by the fault crash-after.
var ErrDied = errors.New("the agent died, as its injected fault crash-after demands")

// ErrUndone means that an agent was ended before it had done everything.
var ErrUndone = errors.New("the agent was stopped with work undone")

// Link is how an agent talks to its hub: bus.NodeConn.
type Link interface {
	Send(kind string, data []byte, traceparent string) error
}

// Config configures an Agent.
type Config struct {
	Core    CoreConfig      // Boot and Offer.Engines are filled in by New
	Engines []engine.Engine // stay the caller's to close
	Sharers []engine.Sharer // those of them that have joined their peers
	HTTP    *HubHTTP
	Models  *swarm.Swarm // stays the caller's to close
	// Told, if set, hears the charters of lines that this node may hold layers for.
	Told func(*charter.Charter)
	// Probe measures the way to each of these nodes, and leaves out those to which there
	// is none; nil: this node has no peers.
	Probe   func(context.Context, []peer.Address) []probe.Way
	Metrics prometheus.Registerer // nil: none
	Tracer  trace.Tracer          // nil: none
	Log     *slog.Logger
}

// Agent runs one Core: it carries events to it from the hub, the clock and the
// runs, and its effects back. One goroutine, in Run, owns the Core.
type Agent struct {
	cfg     Config
	engines map[string]engine.Engine
	metrics *metrics

	events    chan event
	connected chan struct{} // holds at most one: the link is up
	drain     chan struct{} // closed by Drain
	drainOnce sync.Once
	stopped   chan struct{} // closed when events are no longer heard
	ended     chan struct{} // closed when Run returns

	core    *Core // owned by Run, as what follows up to the blank line
	link    Link
	starts  chan job
	batches chan *Batch
	runner  *runner

	mu      sync.Mutex // guards stops
	stops   map[core.LeaseID]context.CancelCauseFunc
	working sync.WaitGroup
	probing atomic.Bool // measures the ways to others
}

// event is something that the Core must hear.
type event func(*Core, time.Time) (Effects, error)

// job is a part on its way to a worker.
type job struct {
	ctx context.Context
	Start
}

// eventQueue is how many events wait at most; whoever brings more, waits too.
const eventQueue = 1024

// New returns an agent that has read its outbox. Run must follow.
func New(cfg Config) (*Agent, error) {
	if cfg.Log == nil || cfg.HTTP == nil || cfg.Models == nil || len(cfg.Engines) == 0 {
		return nil, errors.New("agent: log, HTTP client, models or engines are missing")
	}
	if cfg.Tracer == nil {
		cfg.Tracer = noop.NewTracerProvider().Tracer("")
	}
	engines, err := engineOf(cfg.Engines)
	if err != nil {
		return nil, err
	}
	cfg.Core.Boot = rand.Text()
	cfg.Core.Offer.Engines = nil
	for _, e := range cfg.Engines {
		cfg.Core.Offer.Engines = append(cfg.Core.Offer.Engines, e.Name())
	}
	a := &Agent{
		cfg: cfg, engines: engines,
		events:    make(chan event, eventQueue),
		connected: make(chan struct{}, 1),
		drain:     make(chan struct{}),
		stopped:   make(chan struct{}),
		ended:     make(chan struct{}),
		starts:    make(chan job, cfg.Core.Offer.Slots),
		batches:   make(chan *Batch, 1),
		stops:     map[core.LeaseID]context.CancelCauseFunc{},
	}
	if a.core, err = NewCore(time.Now(), cfg.Core); err != nil {
		return nil, err
	}
	if a.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	if cfg.Core.Faults.Any() {
		cfg.Log.Warn("REHEARSAL: this node misbehaves on purpose and will lose pay and reputation", "faults", cfg.Core.Faults)
	}
	return a, nil
}

// Handle takes a message of the hub. It waits while the agent is busy.
func (a *Agent) Handle(m bus.Inbound) {
	ev, err := decode(m)
	if err != nil {
		a.cfg.Log.Warn("message of the hub not understood", "kind", m.Kind, "error", err)
		return
	}
	a.post(ev)
}

func decode(m bus.Inbound) (event, error) {
	switch m.Kind {
	case bus.KindLease:
		return func(c *Core, now time.Time) (Effects, error) { return c.Lease(now, m.Data) }, nil
	case bus.KindAck:
		var ack bus.Ack
		err := bus.Decode(m.Data, &ack)
		return func(c *Core, now time.Time) (Effects, error) { return c.Ack(now, ack), nil }, err
	case bus.KindCancel:
		var cancel bus.Cancel
		err := bus.Decode(m.Data, &cancel)
		return func(c *Core, now time.Time) (Effects, error) { return c.Cancel(now, cancel), nil }, err
	case bus.KindKeep:
		var keep bus.Keep
		err := bus.Decode(m.Data, &keep)
		return func(c *Core, now time.Time) (Effects, error) { return c.Keep(now, keep), nil }, err
	case bus.KindProbe:
		var ask bus.Probe
		err := bus.Decode(m.Data, &ask)
		return func(c *Core, now time.Time) (Effects, error) { return c.Probe(now, ask), nil }, err

	case bus.KindLine:
		return func(c *Core, now time.Time) (Effects, error) { return c.Line(now, m.Data) }, nil
	default:
		return nil, errors.New("unknown kind")
	}
}

// Connected says that the link is up. It does not wait.
func (a *Agent) Connected() {
	select {
	case a.connected <- struct{}{}:
	default: // is known already
	}
}

// Drain ends the agent in order: it takes no more leases, gives back what it has
// not begun, finishes the rest, and waits until the hub has acknowledged every
// report. Run then returns nil. When ctx ends first, Drain returns ErrUndone and
// leaves it to the caller to end Run; what is in the outbox is sent in the next
// life.
func (a *Agent) Drain(ctx context.Context) error {
	a.drainOnce.Do(func() { close(a.drain) })
	select {
	case <-a.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUndone, context.Cause(ctx))
	}
}

// post hands an event to Run, and drops it where Run has ended.
func (a *Agent) post(ev event) {
	select {
	case a.events <- ev:
	case <-a.stopped:
	}
}

// Run works until ctx ends, which leaves running parts undone, or Drain has
// finished. It is called once. Other ends are errors: ErrDied, or a disk that no
// longer keeps the outbox.
func (a *Agent) Run(ctx context.Context, link Link) error {
	defer close(a.ended)
	life, kill := context.WithCancelCause(ctx)
	a.link = link
	defer kill(errStopped)
	in := newInstances(life, &a.cfg, a.engines)
	in.changed = func() {
		a.post(func(c *Core, now time.Time) (Effects, error) {
			models, rate := in.report() // as of now: reports may overtake each other
			return c.Loaded(now, models, rate), nil
		})
	}
	tell := newTelling(a.sendProgress)
	a.working.Go(func() { tell.run(life) })
	a.runner = &runner{instances: in, inputs: a.cfg.HTTP, telling: tell, tracer: a.cfg.Tracer, log: a.cfg.Log}
	for range a.cfg.Core.Offer.Slots {
		a.working.Go(a.work)
	}
	a.working.Go(a.commit)
	for _, e := range a.cfg.Engines {
		if host, ok := e.(engine.Host); ok {
			a.working.Go(func() {
				host.Watch(life, func(h engine.Hosted) {
					a.post(func(c *Core, now time.Time) (Effects, error) { return c.Hosted(now, h), nil })
				})
			})
		}
	}
	for _, e := range a.cfg.Sharers {
		a.working.Go(func() {
			e.Lines(life, func(states []charter.State) {
				a.post(func(c *Core, now time.Time) (Effects, error) { return c.Lines(now, states), nil })
			})
		})
	}
	err := a.loop(life)
	close(a.stopped)
	kill(errStopped)
	close(a.starts)
	close(a.batches)
	a.working.Wait()
	in.close()
	return err
}

// loop owns the Core.
func (a *Agent) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	drain := a.drain
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case ev := <-a.events:
			// What is waiting comes along, so that it can share one durable write.
			for n := len(a.events); err == nil; n-- {
				if err = a.apply(ctx, ev); n == 0 {
					break
				}
				ev = <-a.events
			}
		case <-a.connected:
			err = a.apply(ctx, func(c *Core, now time.Time) (Effects, error) { return c.Connected(now), nil })
		case <-drain:
			drain = nil
			err = a.apply(ctx, func(c *Core, now time.Time) (Effects, error) { return c.Drain(now), nil })
		case <-timer.C:
			err = a.apply(ctx, func(c *Core, now time.Time) (Effects, error) { return c.Tick(now), nil })
		}
		if err != nil {
			return err
		}
		if b := a.core.Take(); b != nil {
			a.batches <- b // has room: one is out at a time
		}
		a.metrics.see(a.core)
		if drain == nil && a.core.Idle() {
			return nil
		}
		timer.Reset(a.core.Next())
	}
}

// fatal is an error after which the Core is gone.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

func (a *Agent) apply(ctx context.Context, ev event) error {
	fx, err := ev(a.core, time.Now())
	if f, ok := errors.AsType[fatal](err); ok {
		return f.error
	}
	if err != nil {
		a.metrics.refusedMessages.Inc()
		a.cfg.Log.Warn("message of the hub refused", "error", err)
	}
	if fx.Die {
		return ErrDied
	}
	for _, m := range fx.Send {
		if err := a.link.Send(m.Kind, m.Data, m.Traceparent); err != nil && !errors.Is(err, bus.ErrDisconnected) {
			a.cfg.Log.Error("message not sent", "kind", m.Kind, "bytes", len(m.Data), "error", err)
		}
	}
	for _, s := range fx.Start {
		a.starts <- a.prepare(ctx, s) // has room: the Core keeps to the slots
	}
	for _, id := range fx.Stop {
		a.stop(id)
	}
	a.runner.instances.keep(time.Now(), fx.Keep)
	for _, ch := range fx.Charters {
		if a.cfg.Told != nil {
			a.cfg.Told(ch)
		}
		for _, e := range a.cfg.Sharers {
			if e.Name() == ch.Engine {
				e.Charter(ch)
			}
		}
	}
	if len(fx.Probe) > 0 && a.cfg.Probe != nil && a.probing.CompareAndSwap(false, true) { // else it is asked again
		a.working.Go(func() {
			ways := a.cfg.Probe(ctx, fx.Probe)
			a.probing.Store(false)
			a.post(func(c *Core, now time.Time) (Effects, error) { return c.Ways(now, ways), nil })
		})
	}
	for _, u := range fx.Upload {
		a.working.Go(func() { a.upload(ctx, u) })
	}
	return nil
}

// prepare makes a part one that Stop can reach.
func (a *Agent) prepare(ctx context.Context, s Start) job {
	ctx, stop := context.WithCancelCause(ctx)
	a.mu.Lock()
	a.stops[s.Lease.ID] = stop
	a.mu.Unlock()
	return job{ctx: ctx, Start: s}
}

func (a *Agent) stop(id core.LeaseID) {
	a.mu.Lock()
	stop := a.stops[id]
	delete(a.stops, id)
	a.mu.Unlock()
	if stop != nil {
		stop(errStopped)
	}
}

// work runs parts, one after another.
func (a *Agent) work() {
	for j := range a.starts {
		id := j.Lease.ID
		begun := func() {
			a.post(func(c *Core, now time.Time) (Effects, error) { return c.Running(now, id), nil })
		}
		out := a.runner.run(j.ctx, j.Start, begun)
		a.stop(id)
		a.metrics.ran(out)
		a.post(func(c *Core, now time.Time) (Effects, error) { return c.Done(now, id, out), nil })
	}
}

func (a *Agent) upload(ctx context.Context, u Upload) {
	err := a.cfg.HTTP.PutResult(ctx, u.Lease, u.Data)
	if err != nil {
		err = errors.New(clean(err.Error()))
	}
	a.post(func(c *Core, now time.Time) (Effects, error) { return c.Uploaded(now, u.Lease, err), nil })
}

// commit signs and stores, beside the Core.
func (a *Agent) commit() {
	for b := range a.batches {
		began := time.Now()
		err := b.Commit()
		a.metrics.stored(b, time.Since(began))
		a.post(func(c *Core, now time.Time) (Effects, error) {
			fx, err := c.Committed(now, b, err)
			if err != nil {
				err = fatal{err}
			}
			return fx, err
		})
	}
}
