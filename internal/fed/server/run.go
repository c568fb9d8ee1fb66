package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	fastjson "github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/identity"
	"atoll/internal/receipt"
	"atoll/internal/secagg"
	"atoll/internal/store"
)

// machineState is a fed.State without what is large: that is a blob, see weights.
type machineState fed.State

func small(s fed.State) machineState {
	s.Rounds = nil
	for _, v := range s.Vectors() {
		*v = nil
	}
	return machineState(s)
}

// weights are the large part of a state.
func weights(s fed.State) []byte {
	var all [][]float32
	for _, v := range s.Vectors() {
		all = append(all, *v)
	}
	return fed.PackFloats(all...)
}

func (m machineState) whole(weights []byte) (*fed.State, error) {
	s := fed.State(m)
	return &s, fed.UnpackFloats(weights, s.Vectors()...)
}

// run is a federation that may go on.
type run struct {
	s       *Server
	id      core.FederationID
	account core.AccountID
	plan    *fed.Plan
	members []secagg.Member
	index   map[core.NodeID]int

	mu      sync.Mutex
	rec     record
	machine *fed.Machine
	orders  map[int]*fed.Order // that sites are waited for with
	events  int64              // of the round under way
	clock   clock
	broken  error // why it does not go on, but from what SQL has

	// Transactions enqueued, guarded by mu, and of these durable.
	written int64
	durable atomic.Int64
}

// clock is a federation's own: see the package comment.
type clock struct {
	at    time.Time // what it showed when it was set
	set   time.Time // by the hub's clock
	still bool
}

func (c clock) now(hub time.Time) time.Time {
	if c.still {
		return c.at
	}
	return c.at.Add(hub.Sub(c.set)).Truncate(time.Millisecond)
}

// newRun makes what follows from a record.
func (s *Server) newRun(rec record) (*run, error) {
	spec, err := fed.Parse(rec.Spec)
	if err != nil {
		return nil, err
	}
	r := &run{s: s, id: rec.ID, account: rec.Account, rec: rec, index: map[core.NodeID]int{}}
	if r.plan, err = fed.NewPlan(spec, len(rec.Members)); err != nil {
		return nil, err
	}
	r.plan.ID = rec.ID.String()
	for i, m := range rec.Members {
		key, err := identity.ParsePublicKey(m.Key)
		if err != nil {
			return nil, err
		}
		r.members = append(r.members, secagg.Member{Name: string(m.Node), Key: key})
		r.index[m.Node] = i
	}
	return r, nil
}

// restore makes a federation's machine anew, as it was.
func (s *Server) restore(ctx context.Context, rec *record) (*run, error) {
	r, err := s.newRun(*rec)
	if err != nil {
		return nil, err
	}
	b, err := s.readBlob(rec.Weights)
	if err != nil {
		return nil, err
	}
	state, err := rec.Machine.whole(b)
	if err != nil {
		return nil, err
	}
	if r.machine, err = fed.NewMachine(r.plan, r.members, state); err != nil {
		return nil, err
	}
	if _, err := r.machine.Begin(time.UnixMilli(rec.BeganMs)); err != nil {
		return nil, err
	}
	n, last, err := s.replay(ctx, rec.ID, r.machine)
	if err != nil {
		return nil, err
	}
	r.events, r.clock = n, clock{at: time.UnixMilli(max(last, rec.BeganMs)), set: s.cfg.Now(), still: rec.State != api.FederationRunning}
	r.renew()
	return r, nil
}

// renew finds out who is waited for with what.
func (r *run) renew() {
	r.orders = map[int]*fed.Order{}
	for _, send := range r.machine.Again() {
		r.orders[send.Site] = send.Order
	}
}

// happen has an event change the federation, and what follows from it written. It returns
// once that is enqueued; what is enqueued becomes durable in order. An error changes
// nothing. It is called with mu held.
func (r *run) happen(e *event) (durable <-chan struct{}, err error) {
	if e.reply != nil {
		if e.Reply, err = fastjson.Marshal(e.reply); err != nil {
			return nil, err
		}
	}
	before := r.machine.State()
	moved, err := e.happen(r.machine)
	if err != nil {
		return nil, err
	}
	if r.machine.Over() || r.machine.State().Round != before.Round {
		return r.settle(e)
	}
	if moved {
		r.renew()
	} else {
		delete(r.orders, e.reply.Site)
	}
	r.events++
	seq := r.events
	return r.write(func(tx *store.Tx, _ logger) {
		tx.PutFederationEvent(r.id, seq, e)
		if !e.Vector.IsZero() {
			tx.PutFederationBlob(r.id, e.Vector)
		}
	}), nil
}

// logger appends a statement to the log, and returns its index.
type logger = func(receipt.Signed) int64

// write enqueues a transaction. Sites are shown orders again once it is durable.
func (r *run) write(fn func(*store.Tx, logger)) (durable <-chan struct{}) {
	r.written++
	n, nodes := r.written, r.rec.Members
	return r.s.cfg.Hub.Record(func(tx *store.Tx, log logger) {
		fn(tx, log)
		tx.After(func() {
			r.durable.Store(n)
			r.s.wake(nodes)
		})
	})
}

// change sets the federation's state, at the wish of its owner.
func (r *run) change(state, why string) (durable <-chan struct{}) {
	now := r.s.cfg.Now()
	r.clock = clock{at: r.clock.now(now), set: now, still: state != api.FederationRunning}
	r.rec.State, r.rec.Why = state, why
	if !r.rec.open() {
		r.rec.EndedMs = now.UnixMilli()
	}
	rec := r.rec
	return r.write(func(tx *store.Tx, _ logger) {
		if !rec.open() {
			r.forget(tx)
			tx.PutFederationBlob(rec.ID, rec.Weights)
		}
		tx.PutFederation(rec.ID, rec.Account, rec.open(), &rec)
	})
}

// forget has what the round under way has left removed.
func (r *run) forget(tx *store.Tx) {
	unnamed := tx.EndFederationRound(r.id)
	tx.After(func() { r.s.cfg.Hub.Unname(unnamed...) })
}
