// Package server is a hub's side of federated learning: it keeps federations in SQL,
// gives each node its orders, takes the replies, and has a receipt of each round put into
// the log. How a round goes is decided by fed.Machine.
//
//	node ── Poll ──▶ the order that waits for it      (over HTTP, held open)
//	node ── Reply ─▶ blob (its vector) ─▶ Machine.Receive ─▶ SQL ─▶ acknowledged
//	                                        └─ a round ends: its record, its receipt and
//	                                           the new parameters, in one transaction
//
// What has happened in the round under way is in a log of events: replies, deadlines,
// sites that have fallen silent. A hub that comes back makes each Machine anew from the
// state in which the round began and these events. So nothing that was acknowledged is
// asked for again, and no order leaves before the events that it follows from are durable.
//
// A federation has a clock of its own, which stands still while the hub is down and while
// the federation is paused: deadlines are for the sites, and it is not their fault.
//
// Files: server (what there is), begin (a federation comes in), run (one goes on), event
// (what is written of it), settle (a round ends), sites (who is there), orders (what they
// get and say), watch (time passes), schedule (and one runs again), view (what the API shows), model (what it yields).
package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"atoll/api"
	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/receipt"
	"atoll/internal/store"
)

// Hub is what federations need of the hub; internal/control implements it.
type Hub interface {
	Record(fn func(tx *store.Tx, log func(receipt.Signed) int64)) (durable <-chan struct{})
	SignRound(r *receipt.Round) (receipt.Signed, error)
	NewFederationID() core.FederationID
	Unname(...core.Digest)
	Nodes(context.Context) ([]api.Node, error)
	Bundle(ctx context.Context, leaf int64) ([]byte, error)
}

// Config for New. Fields without a remark are required.
type Config struct {
	Hub   Hub
	Store *store.Store
	Blobs *blob.Store
	Log   *slog.Logger
	Now   func() time.Time // optional
	// Patience is for how long a site may be silent that others wait for; optional, 10 s.
	Patience time.Duration
}

// Limits.
const (
	maxOpen         = 16 // federations of an account that may go on
	defaultPatience = 10 * time.Second
)

// Server keeps a hub's federations. It is safe for concurrent use.
type Server struct {
	cfg Config

	mu    sync.Mutex
	runs  map[core.FederationID]*run    // that may go on
	lost  map[core.FederationID]error   // that may, and cannot be made anew
	due   map[core.FederationID]*record // that are to run again
	sites map[core.NodeID]*site
}

// New reads the federations that may go on. Run must follow.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Hub == nil || cfg.Store == nil || cfg.Blobs == nil || cfg.Log == nil {
		return nil, errors.New("federations: Hub, Store, Blobs and Log are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
	}
	s := &Server{cfg: cfg, runs: map[core.FederationID]*run{}, lost: map[core.FederationID]error{}, due: map[core.FederationID]*record{}, sites: map[core.NodeID]*site{}}
	rows, err := store.OpenFederations[record](ctx, cfg.Store)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if !row.open() {
			s.due[row.ID] = row
			continue
		}
		r, err := s.restore(ctx, row)
		if err != nil { // the others need not wait for who can mend it
			cfg.Log.Error("a federation cannot go on", "federation", row.ID, "error", err)
			s.lost[row.ID] = err
			continue
		}
		s.runs[row.ID] = r
	}
	return s, nil
}

// find returns a federation that may go on; nil: it does not.
func (s *Server) find(id core.FederationID) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[id]
}

// record is what SQL has of a federation, besides the events of the round under way.
type record struct {
	ID      core.FederationID `json:"id"`
	Account core.AccountID    `json:"account"`
	State   string            `json:"state"`
	Why     string            `json:"why,omitempty"`
	Spec    []byte            `json:"spec"` // JSON
	Members []member          `json:"members"`
	Machine machineState      `json:"machine"`
	Before  core.Digest       `json:"before"` // of the parameters with which the round began
	Weights core.Digest       `json:"weights"`
	// BeganMs is when the round under way began, by the federation's clock.
	BeganMs   int64 `json:"began"`
	CreatedMs int64 `json:"created"`
	EndedMs   int64 `json:"ended,omitzero"`
	// With a schedule: which run it is, after which, and when the next is due; 0: never.
	Time     int               `json:"time"`
	Previous core.FederationID `json:"previous,omitzero"`
	NextMs   int64             `json:"next,omitzero"`
}

// member is a site as it was when the federation began.
type member struct {
	Node    core.NodeID    `json:"node"`
	Owner   core.AccountID `json:"owner"`
	Country string         `json:"country"`
	Key     string         `json:"key"` // PEM
	Digest  core.Digest    `json:"key_digest"`
}

func (rec *record) open() bool {
	return rec.State == api.FederationRunning || rec.State == api.FederationPaused
}

// readBlob returns content that the federation names.
func (s *Server) readBlob(d core.Digest) ([]byte, error) {
	f, size, err := s.cfg.Blobs.Open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, size)
	_, err = io.ReadFull(f, b)
	return b, err
}
