// Package control is the sole owner of task state. It carries values between
// the pure deciders and the one place where things are written:
//
//	requests, messages, time ──> a job in store's next batch
//	job:    look at the state ─> ask lifecycle, market, verify, ledger ─> change it
//	finish: sign the batch's verdicts, write all that changed, in one transaction
//	after:  answer callers, send leases and acks, wake watchers
//
// The state of open tasks lives in memory, written through to SQL, and is
// touched only by jobs, which run one at a time. Nothing leaves the process
// before the transaction that caused it is durable; if a transaction fails the
// hub stops, and a restarted hub reads SQL and goes on. So every message to a
// node may be said again, and every message from a node is compared with what
// is stored.
//
// Files: submit (a task comes in), terms and input (what it says), place (parts find
// nodes), waitlist, say (what nodes are told), node (who they are), inbound (they
// speak), hearing (but not too much), report (they deliver), judge (verdicts), check
// (results that are run again), piece (or only a piece of them), settle (checkpoints
// and payouts), log, sweep (time passes), load (restart), view, viewnodes and result
// (what the API shows), watch (and when it changes), preview (results that still
// grow), accounts, keys, join and lockout (who may what), data (bytes), intake,
// quota, prune and collect (what comes to the disk, and goes), files, batches,
// models, services, keep (their models in memory), callbacks, audit.
package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"atoll/api"
	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/fetch"
	"atoll/internal/identity"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/receipt"
	"atoll/internal/request"
	"atoll/internal/shard/charter"
	"atoll/internal/store"
)

// Sender puts a message on its way to a node. It may be lost.
type Sender interface {
	Send(node core.NodeID, kind string, data []byte, traceparent string) error
}

// Admitter lets a node's keys use the bus, and locks them out again.
type Admitter interface {
	IssueNode(node core.NodeID, nkeyPublic string) (jwt string, err error)
	Revoke(nkeyPublic string, at time.Time) error
}

// Config for New. Fields without a remark are required.
type Config struct {
	HubID string // names this hub in leases and receipts
	Path  string // of the database
	Key   *identity.Key
	Log   *Log // the transparency log
	Blobs *blob.Store
	Fetch *fetch.Client
	Send  Sender
	Admit Admitter

	CAPin    core.Digest                                           // put into join tokens; zero on loopback
	Grant    identity.JoinGrant                                    // what every joining node is told: URLs, keys, CA
	IssueTLS func(core.NodeID, identity.PublicKey) ([]byte, error) // optional

	Retention time.Duration                                 // of ended tasks' data and unused uploads; 0: for ever
	Quota     int64                                         // bytes kept for an account; 0: DefaultQuota
	Models    func(engine, path string) (ModelFacts, error) // inspects an uploaded model
	Pieces    map[string]engine.Piece                       // by engine: those whose work can be run again in part
	Tracer    trace.Tracer
	Traced    bool // spans go somewhere: mark every step, not only submits
	Logger    *slog.Logger
	Now       func() time.Time // optional
	Rand      func() uint32    // optional; seeds IDs
	Secrets   io.Reader        // optional; of nonces, draws and lines, never an error
	Inline    bool             // one thread, for simulation
	NoSync    bool             // for tests
	Crash     func(store.Point) bool
	Metrics   *Metrics
	// Relayed reports whether other nodes reach a node through the hub, and how far it is
	// from the hub and back, 0 if that is not known; nil: none.
	Relayed func(core.NodeID) (rtt time.Duration, ok bool)
	// WakeCallbacks, if set, is called when a callback has become due.
	WakeCallbacks func()
	// WebhookKeys returns what an account verifies its callbacks with.
	WebhookKeys func(core.AccountID) (secret, public string, err error)
}

// ModelFacts is what the hub finds out about an uploaded model.
type ModelFacts struct {
	Reproducible bool
	Floats       bool
	// Of models at providers' own servers: their name there, and the language model
	// with the same weights by which answers can be checked, if there is one.
	Upstream  string
	Reference core.Digest
	// Shape is of models whose layers several nodes can hold; nil: they cannot. It
	// refuses profiles that the model does not have.
	Shape func(profile string) (*ModelShape, error)
}

// ModelShape is what it takes to hold a model's layers in a profile. Sizes are in bytes
// of memory.
type ModelShape struct {
	Layers, Context          int
	Layer, Embedding, Output int64 // weights
	Cache                    int64 // of a position's key and value in one layer
	Row                      int64 // of a position, between nodes
	Cuts                     []int // the only layers before which a node may begin; none: any
	// Shares are the parts of a layer that nodes of such speeds compute together, or why
	// they cannot, and Parts how much of a position they then tell one another in it.
	Shares func(speeds []int) ([]float64, error)
	Parts  int64
}

// Control is the running state of a hub.
type Control struct {
	cfg   Config
	store *store.Store
	ids   *core.IDSource
	now   func() time.Time
	log   *slog.Logger
	// outbound takes what a durable batch has to say off the writer's hands:
	// sealing leases costs a signature. nil in Inline mode.
	outbound chan func()
	signer   *receipt.Signer
	readers  *readers
	quota    *quota

	// mu guards all below: jobs hold it while they run, readers of soft state
	// (offers, nodes, waiters) hold it briefly.
	mu          sync.Mutex
	tasks       map[core.TaskID]*task  // not ended, or not settled
	parts       map[core.AccountID]int // of these tasks
	leases      map[core.LeaseID]*leaseRef
	nodes       map[core.NodeID]*node
	offers      []*market.Offer // of all nodes, by ID
	accounts    map[core.AccountID]*ledger.Account
	models      map[string]*modelRow // by name@version
	latest      map[string]int
	services    map[string]*api.Service
	keeping     map[string]*keeping // by service
	keptMs      int64               // when nodes were last asked to keep models
	lines       map[string]*line    // by service
	fading      []*line             // that others have taken the place of
	due         []*charter.Charter  // to be told
	probedMs    int64               // when a node was last asked to measure ways
	waiting     waitlist
	payouts     []payout // granted, waiting for a checkpoint; by log index
	published   store.Checkpoint
	boot        time.Time
	excusedMs   int64 // when the hub last woke from standing still
	sweptMs     int64 // when time was last looked at
	lookedMs    int64 // when waiting parts were last held against the market
	stats       stats
	previews    int                    // bytes of all previews
	ownPreviews map[core.AccountID]int // and of each account
	unnamed     unnamed

	collectFrom byte // where the next round of collect begins; Prune's own
}

type stats struct {
	submitted, ended, leases, passed, rejected, lost int64
	paid                                             core.Money
}

// task is an open task in memory.
type task struct {
	lifecycle.Task
	parts    []*part
	spec     []byte
	input    []byte // nil when it is in the blob store
	req      market.Request
	refReq   market.Request // of what tests its results
	params   map[string]string
	paramsID core.Digest
	callback string
	service  string // whose line is to compute it; empty: none
	escrow   ledger.Escrow
	wait     wait
	owing    int // payouts not yet made
	timedOut bool
	failure  string // of the last part that failed
	waiters  []chan lifecycle.Task
	changed  chan struct{} // closed at the next change; nil while nobody waits for it
	preview  *preview      // nil unless the result may be read while it grows

	intake       *intake        // until it is stored
	batch        *request.Batch // likewise; nil if it is none
	isNew, dirty bool
	told         bool              // those who waited for its end have been told
	fresh        []lifecycle.Event // of this batch
}

type part struct {
	lifecycle.Part
	dirty, queued bool
}

// leaseRef finds a live lease.
type leaseRef struct {
	task     *task
	part     *part
	node     *node
	id       core.LeaseID
	sentMs   int64
	refused  bool // a report of it was refused, and the requester told so
	bringing int  // results that are on their way over HTTP
}

// hold keeps a task in memory until letGo.
func (c *Control) hold(t *task) {
	c.tasks[t.ID] = t
	c.parts[t.Account] += t.Parts
}

func (c *Control) letGo(t *task) {
	if c.tasks[t.ID] != t {
		return // counted once
	}
	delete(c.tasks, t.ID)
	if c.parts[t.Account] -= t.Parts; c.parts[t.Account] == 0 {
		delete(c.parts, t.Account)
	}
}

func (r *leaseRef) lease() *lifecycle.Lease { return r.part.Lease(r.id) }

// New opens the database and reads what is open. Run must follow, unless Inline.
func New(ctx context.Context, cfg Config) (*Control, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Secrets == nil {
		cfg.Secrets = rand.Reader
	}
	if cfg.HubID == "" || cfg.Path == "" || cfg.Key == nil || cfg.Log == nil || cfg.Send == nil || cfg.Metrics == nil || cfg.Tracer == nil {
		return nil, errors.New("control: HubID, Path, Key, Log, Send, Metrics and Tracer are required")
	}
	c := &Control{
		cfg: cfg, now: cfg.Now, log: cfg.Logger, ids: core.NewIDSource(cfg.Now, cfg.Rand),
		tasks: map[core.TaskID]*task{}, parts: map[core.AccountID]int{}, ownPreviews: map[core.AccountID]int{}, leases: map[core.LeaseID]*leaseRef{}, nodes: map[core.NodeID]*node{},
		accounts: map[core.AccountID]*ledger.Account{}, models: map[string]*modelRow{}, latest: map[string]int{}, services: map[string]*api.Service{}, keeping: map[string]*keeping{}, lines: map[string]*line{},
		boot: cfg.Now(), sweptMs: cfg.Now().UnixMilli(), readers: newReaders(), quota: newQuota(cmp.Or(cfg.Quota, DefaultQuota)),
	}
	var err error
	if c.signer, err = receipt.NewSigner(cfg.Key.Signer()); err != nil {
		return nil, err
	}
	if !cfg.Inline {
		c.outbound = make(chan func(), 1024)
	}
	c.store, err = store.Open(store.Config{
		Path: cfg.Path, Log: cfg.Logger, Now: cfg.Now, Finish: c.finish, Crash: cfg.Crash, Inline: cfg.Inline, NoSync: cfg.NoSync,
	})
	if err != nil {
		return nil, err
	}
	if err := c.load(ctx); err != nil {
		return nil, errors.Join(err, c.store.Close())
	}
	return c, nil
}

// senders seal and send beside the writer. Messages may overtake each other;
// nodes do not mind.
const senders = 2

// Run works until ctx ends or the store fails.
func (c *Control) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	every := func(d time.Duration, f func(context.Context)) {
		wg.Go(func() {
			t := time.NewTicker(d)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-t.C:
					f(ctx)
				}
			}
		})
	}
	every(sweepEvery, func(context.Context) { c.Sweep() })
	every(checkpointEvery, func(ctx context.Context) {
		if err := c.Checkpoint(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("checkpoint", "error", err)
		}
	})
	every(pruneEvery, func(ctx context.Context) {
		if err := c.Prune(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("pruning", "error", err)
		}
	})
	for range senders {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case say := <-c.outbound:
					say()
				}
			}
		})
	}
	err := c.store.Run(ctx)
	cancel()
	c.hangUp()
	wg.Wait()
	return err
}

// hangUp wakes those who watch tasks: nothing more will happen here.
func (c *Control) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tasks {
		c.endPreview(t)
		if t.changed != nil {
			close(t.changed)
			t.changed = nil
		}
	}
}

// stopping is what requests are told for which it is too late.
func stopping(err error) error {
	return (&core.Error{Kind: core.Unavailable, Message: "the hub is stopping", Err: err}).WithHint("try again in a moment")
}

// Close closes the database. Jobs that wait are refused.
func (c *Control) Close() error { return c.store.Close() }

// Ready says what the hub still waits for.
func (c *Control) Ready(context.Context) error {
	if err := c.store.Err(); err != nil {
		return core.Errorf(core.Unavailable, "the store has stopped; restart the hub")
	}
	return nil
}

// Store gives read access, for the log's tiles and for audits.
func (c *Control) Store() *store.Store { return c.store }

// job runs fn as one job of the next batch and waits until it is durable.
func (c *Control) job(ctx context.Context, fn func(*batch) error) error {
	err := c.store.Do(ctx, func(tx *store.Tx) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		return fn(c.batch(tx))
	})
	if errors.Is(err, store.ErrStopped) {
		return stopping(err)
	}
	return err
}

// enqueue is job without waiting.
func (c *Control) enqueue(fn func(*batch)) {
	c.store.Go(func(tx *store.Tx) {
		c.mu.Lock()
		defer c.mu.Unlock()
		fn(c.batch(tx))
	})
}
