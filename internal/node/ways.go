package node

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/peer"
	"atoll/internal/peer/echo"
	"atoll/internal/peer/relay"
)

// How ways are measured.
const (
	wayEvery   = 5 * time.Second // one at a time, so that measurements do not meet
	wayTime    = 20 * time.Second
	wayAge     = time.Hour       // until it is measured again
	wayFailure = 5 * time.Minute // until it is tried again
)

// ways are what this node knows of the ways to its fellows: the hub plans lines by them.
// Of two nodes that whose name comes first measures, and only where they reach one another
// without the hub, which knows the way through itself.
type ways struct {
	self    core.NodeID
	fellows *fellows
	open    func(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error)
	log     *slog.Logger

	known map[core.NodeID]bus.Way
	due   map[core.NodeID]time.Time
}

// run measures until ctx ends, and tells of all that is known when it has changed.
func (w *ways) run(ctx context.Context, tell func([]bus.Way)) {
	w.known, w.due = map[core.NodeID]bus.Way{}, map[core.NodeID]time.Time{}
	tick := time.NewTicker(wayEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		to, ok := w.next(time.Now())
		if !ok {
			continue
		}
		m, err := w.measure(ctx, to)
		if w.due[to.Node] = time.Now().Add(wayAge); err != nil {
			w.due[to.Node] = time.Now().Add(wayFailure)
			w.log.Info("the way to another node could not be measured", "node", to.Node, "error", err)
			continue
		}
		w.known[to.Node] = bus.Way{Node: to.Node, RTTMicros: max(m.RTT.Microseconds(), 1), Bandwidth: max(m.Bandwidth, 1)}
		tell(w.all())
	}
}

// next is a fellow whose way is to be measured now.
func (w *ways) next(now time.Time) (peer.Address, bool) {
	fellows := w.fellows.all()
	for id := range w.known { // forget those that are none any more
		if !slices.ContainsFunc(fellows, func(a peer.Address) bool { return a.Node == id }) {
			delete(w.known, id)
			delete(w.due, id)
		}
	}
	for _, a := range fellows {
		a.At = slices.DeleteFunc(slices.Clone(a.At), relay.Relayed)
		if w.self < a.Node && len(a.At) > 0 && !now.Before(w.due[a.Node]) && (len(w.known) < bus.MaxWays || w.known[a.Node].Node != "") {
			return a, true
		}
	}
	return peer.Address{}, false
}

func (w *ways) measure(ctx context.Context, to peer.Address) (echo.Way, error) {
	ctx, stop := context.WithTimeout(ctx, wayTime)
	defer stop()
	s, err := w.open(ctx, to, echo.Protocol)
	if err != nil {
		return echo.Way{}, err
	}
	defer s.Close()
	return echo.Measure(ctx, s)
}

func (w *ways) all() (out []bus.Way) {
	for _, way := range w.known {
		out = append(out, way)
	}
	slices.SortFunc(out, func(a, b bus.Way) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// answer is the other side: fellows alone may measure.
func (f *fellows) answer(_ context.Context, s peer.Stream) {
	p := s.Peer()
	if slices.ContainsFunc(f.all(), func(a peer.Address) bool { return a.Node == p.Node && a.Key == p.Key }) {
		echo.Serve(s)
	}
}
