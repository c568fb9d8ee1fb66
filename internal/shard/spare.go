package shard

import (
	"context"
	"slices"
	"sync"
	"time"

	"atoll/internal/peer"
)

// spare is a node that can take somebody's place. While the line runs it loads the
// layers of one, so that nobody waits for that when the place falls vacant.
type spare struct {
	at    peer.Address
	ready chan struct{} // closed when it has loaded, or could not; nil: it has not begun
	post  *post         // nil: it could not
}

// mostWarm bounds the spares that have layers in memory for the case that they are
// needed.
const mostWarm = 4

// Offer says who can take places from now on. It may be called at any time.
func (l *Line) Offer(nodes []peer.Address) {
	select {
	case <-l.offers: // an older one
	default:
	}
	select {
	case l.offers <- nodes:
	default: // somebody else has just offered
	}
}

// renew takes nodes for spares that neither have a place nor are spares, and lets those
// go that are not offered any more and have loaded nothing.
func (l *Line) renew(nodes []peer.Address) {
	held := l.Held()
	l.spares = slices.DeleteFunc(l.spares, func(s *spare) bool {
		return s.ready == nil && !slices.ContainsFunc(nodes, func(a peer.Address) bool { return a.Node == s.at.Node })
	})
	for _, a := range nodes {
		if slices.ContainsFunc(held, func(p Post) bool { return p.Node.Node == a.Node }) {
			continue
		}
		if i := slices.IndexFunc(l.spares, func(s *spare) bool { return s.at.Node == a.Node }); i < 0 {
			l.spares = append(l.spares, &spare{at: a})
		} else if l.spares[i].ready == nil {
			l.spares[i].at = a // it may be elsewhere now
		}
	}
}

// Warm is closed when the first spares have loaded, or could not.
func (l *Line) Warm() <-chan struct{} { return l.warmed }

// warm has the first spares load, each the layers of another place. wg is done when
// all have.
func (l *Line) warm(ctx context.Context, wg *sync.WaitGroup) {
	spares := slices.Clone(l.spares[:min(len(l.spares), mostWarm)])
	defer wg.Go(func() {
		for _, s := range spares {
			<-s.ready
		}
		close(l.warmed)
	})
	for i, s := range spares {
		p := l.posts[i%len(l.posts)].Post
		s.ready = make(chan struct{})
		wg.Go(func() {
			defer close(s.ready)
			var err error
			if s.post, err = l.seat(ctx, Post{Node: s.at, First: p.First, Last: p.Last}); err != nil {
				l.cfg.Log.Warn("a spare of the line could not load", "node", s.at.Node, "error", err)
			}
		})
	}
}

// has says whether the spare has a place's layers.
func (s *spare) has(p Post) bool {
	return s.post != nil && s.post.First == p.First && s.post.Last == p.Last && !s.post.ended()
}

// loaded is has, without waiting.
func (s *spare) loaded(p Post) bool {
	select {
	case <-s.ready:
		return s.has(p)
	default:
		return false
	}
}

// take has a spare take a place: one that has the layers, if there is one. It is no
// spare any more, whatever comes of it.
func (l *Line) take(ctx context.Context, had Post) (*post, peer.Address, error) {
	i := max(0, slices.IndexFunc(l.spares, func(s *spare) bool { return s.loaded(had) }))
	s := l.spares[i]
	l.spares = slices.Delete(l.spares, i, i+1)
	if s.ready != nil {
		<-s.ready
	}
	if s.has(had) {
		return s.post, s.at, nil
	}
	if s.post != nil {
		s.post.leave(l.cfg.Patience)
	}
	p, err := l.seat(ctx, Post{Node: s.at, First: had.First, Last: had.Last})
	return p, s.at, err
}

// ended says whether the stage's stream has.
func (p *post) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// leave ends a stage, and waits until its node knows.
func (p *post) leave(within time.Duration) {
	_ = p.stream.Close()
	select {
	case <-p.gone:
	case <-time.After(within):
	}
}
