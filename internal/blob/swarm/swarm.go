package swarm

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/peer"
)

// Config for New. Store and Origin are required.
type Config struct {
	Store  *blob.Store
	Origin Origin
	Self   core.Digest // this node's key
	// Open opens a stream to a peer; nil: everything comes from Origin.
	Open func(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error)
	// Sources names peers that may have a content, or are fetching it. It is asked again
	// while a transfer goes on. nil: there are none.
	Sources func(d core.Digest) []peer.Address
	// Allow refuses peers that may not have a content; nil: nobody may have any.
	Allow func(ctx context.Context, p peer.Peer, d core.Digest) error
	Log   *slog.Logger // nil: none
}

// Origin knows which chunks a content has, and has them all. Its errors are final for
// the transfer: it has tried again what was worth it.
type Origin interface {
	Manifest(ctx context.Context, d core.Digest) (*blob.Manifest, error)
	// Read reads len(b) bytes of the content from off on.
	Read(ctx context.Context, d core.Digest, b []byte, off int64) error
}

// Swarm fetches contents for this node, and gives what it has to others. It is safe for
// concurrent use.
type Swarm struct {
	cfg  Config
	log  *slog.Logger
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup // of transfers

	sent, fromPeers, fromOrigin atomic.Int64

	mu        sync.Mutex
	transfers map[core.Digest]*transfer
	streams   int // on which chunks are given
	byPeer    map[peer.Peer]int
}

// Moved is how many bytes of chunks have moved.
type Moved struct {
	Sent       int64 `json:"sent"` // to peers
	FromPeers  int64 `json:"from_peers"`
	FromOrigin int64 `json:"from_origin"`
}

// Times of transfers.
const (
	pollEvery  = 5 * time.Second // Sources is asked again
	retryMin   = 100 * time.Millisecond
	retryMax   = 5 * time.Second
	dialTime   = 10 * time.Second
	lookEvery  = 500 * time.Millisecond // whether time has opened a chunk to a source
	meetTime   = 2 * time.Second        // for which the origin waits for peers
	patience   = 5 * time.Second        // what a fellow has waits so long for it
	lateAfter  = 5 * time.Second        // what was asked of one is asked of another, too
	stallAfter = 30 * time.Second       // a source that brings nothing is dropped
)

// New returns a swarm without transfers.
func New(cfg Config) (*Swarm, error) {
	if cfg.Store == nil || cfg.Origin == nil {
		return nil, errors.New("swarm: a store and an origin are required")
	}
	if cfg.Open == nil || cfg.Sources == nil {
		cfg.Sources = func(core.Digest) []peer.Address { return nil }
	}
	if cfg.Allow == nil {
		cfg.Allow = func(context.Context, peer.Peer, core.Digest) error {
			return core.Errorf(core.Forbidden, "this node gives nothing to others")
		}
	}
	s := &Swarm{cfg: cfg, log: cfg.Log, transfers: map[core.Digest]*transfer{}, byPeer: map[peer.Peer]int{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Close ends all transfers. What has come of them stays in the store.
func (s *Swarm) Close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.wg.Wait()
}

// Moved returns what has moved so far.
func (s *Swarm) Moved() Moved {
	return Moved{Sent: s.sent.Load(), FromPeers: s.fromPeers.Load(), FromOrigin: s.fromOrigin.Load()}
}

// join returns the transfer of a content, which is begun if there is none. The caller
// leaves it.
func (s *Swarm) join(d core.Digest) (*transfer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errClosed
	}
	t := s.transfers[d]
	if t == nil || t.failed() != nil {
		t = newTransfer(s, d)
		s.transfers[d] = t
		s.wg.Go(t.run)
	}
	t.users++
	return t, nil
}

// leave ends a transfer that nobody waits for any more.
func (s *Swarm) leave(t *transfer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.users--; t.users > 0 {
		return
	}
	t.stop(errClosed)
	if s.transfers[t.digest] == t {
		delete(s.transfers, t.digest)
	}
}

var errClosed = errors.New("the transfer was ended")
