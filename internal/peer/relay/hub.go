package relay

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/prometheus/client_golang/prometheus"

	"atoll/internal/auth"
	"atoll/internal/core"
)

// Config for NewHub. Log is required; zero limits have defaults.
type Config struct {
	Circuits int           // at once; default DefaultCircuits. One account's nodes can ask for half of them
	PerNode  int           // of them that one node is an end of; default DefaultPerNode, at most MaxPerNode
	Rate     auth.Rate     // of asking, for each account; default 20 a second, bursts of 200
	Silence  time.Duration // after which an end of a circuit is dead; default 30 s

	Metrics prometheus.Registerer // default: none
	Log     *slog.Logger
}

const (
	DefaultCircuits = 256
	DefaultPerNode  = 64
	// MaxPerNode is how many streams a node takes that wait to be accepted.
	MaxPerNode = 256
	// Window is how much of a circuit waits, in each direction, for the other side to
	// read it.
	Window = 512 << 10

	keepAlive  = 10 * time.Second
	answerTime = 15 * time.Second // of a ping, a stream's beginning and its end
)

// Hub is the hub's part of the relay. It is safe for concurrent use.
type Hub struct {
	cfg     Config
	rate    *auth.Limiter
	metrics *metrics

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // of requests that were taken

	mu       sync.Mutex // guards what follows
	attached map[core.NodeID]*attachment
	circuits map[*circuit]struct{}
	ends     map[core.NodeID]int    // of circuits, by node
	asked    map[core.AccountID]int // circuits, by the owner of the node that has asked
}

// NewHub returns a relay that no node is attached to.
func NewHub(cfg Config) (*Hub, error) {
	if cfg.Circuits == 0 {
		cfg.Circuits = DefaultCircuits
	}
	if cfg.PerNode == 0 {
		cfg.PerNode = DefaultPerNode
	}
	if cfg.Silence == 0 {
		cfg.Silence = 30 * time.Second
	}
	if cfg.Rate == (auth.Rate{}) {
		cfg.Rate = auth.Rate{PerSecond: 20, Burst: 200}
	}
	if cfg.Log == nil || cfg.Circuits < 1 || cfg.PerNode < 1 || cfg.PerNode > MaxPerNode || cfg.Silence < 0 {
		return nil, errors.New("relay: want a log, and limits above zero")
	}
	rate, err := auth.NewLimiter("relay", cfg.Rate, nil)
	if err != nil {
		return nil, err
	}
	h := &Hub{cfg: cfg, rate: rate, attached: map[core.NodeID]*attachment{}, circuits: map[*circuit]struct{}{}, ends: map[core.NodeID]int{}, asked: map[core.AccountID]int{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.metrics = newMetrics(cfg.Metrics, h)
	return h, nil
}

// Close ends all attachments and circuits and waits for their requests.
func (h *Hub) Close() {
	h.mu.Lock()
	h.cancel()
	h.mu.Unlock()
	h.wg.Wait()
}

// Cut ends the attachments and circuits of those that match, whose keys have become
// void.
func (h *Hub) Cut(match func(*auth.Principal) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.attached {
		if match(a.who) {
			a.end()
		}
	}
	for c := range h.circuits {
		if match(c.from) {
			c.end()
		}
	}
}

// Attached reports whether a node can be reached through the relay now, and how long a
// word from the hub to it and back takes at the least, as measured; 0: not yet.
func (h *Hub) Attached(node core.NodeID) (rtt time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.attached[node]; a != nil {
		return time.Duration(a.rtt.Load()), true
	}
	return 0, false
}

// enter counts a request in, which h.wg waits for.
func (h *Hub) enter(w http.ResponseWriter, r *http.Request, who *auth.Principal) error {
	if err := checkUpgrade(r); err != nil {
		return err
	}
	if err := h.rate.Allow(w.Header(), string(who.Account)); err != nil {
		h.metrics.refused("rate")
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return core.Errorf(core.Unavailable, "the hub is about to end")
	}
	h.wg.Add(1)
	return nil
}

func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = MaxPerNode
	c.KeepAliveInterval = keepAlive
	c.ConnectionWriteTimeout = answerTime
	c.StreamOpenTimeout = answerTime
	c.StreamCloseTimeout = answerTime
	c.MaxStreamWindowSize = Window
	c.LogOutput = io.Discard // what matters comes as errors
	return c
}
