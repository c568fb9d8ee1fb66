package shard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"atoll/internal/peer"
)

// Post is a place in a line: who holds which layers.
type Post struct {
	Node        peer.Address
	First, Last int // layers First ≤ i < Last
	// Team are all who compute the layers together, Node first; none: Node does.
	Team []Mate
}

// LineConfig for NewLine. All but Spares, Patience and Log are required.
type LineConfig struct {
	Head   *Head
	Member *Member // of the head's node: tokens come to it
	Self   peer.Address
	Seat   Seat           // First and Last are filled in; and Line, if it is zero
	Posts  []Post         // behind the head, in order
	Spares []peer.Address // who can take anybody's place; each loads one's layers at once
	// Patience is for how long a stage may do nothing, or say nothing, before another
	// takes its place; default 2 seconds.
	Patience time.Duration
	Log      *slog.Logger // default: none
}

// How a line is watched.
const (
	sitTime = 2 * time.Minute // to load layers
	// A stage is slow whose steps take so much longer than its quickest like it, and so
	// long.
	slowTimes = 8
	slowLeast = 250 // ms
)

// Line keeps a head's stages together: it seats them, watches them, and has others
// take the places of those that fail.
type Line struct {
	cfg    LineConfig
	id     LineID
	epoch  uint32
	posts  []*post
	spares []*spare
	still  standstill
	broken chan *post
	warmed chan struct{}
	offers chan []peer.Address // the newest alone

	mu       sync.Mutex // guards what others ask for
	replaced int
	held     []Post
}

// post is a stage as the head knows it.
type post struct {
	Post
	stream   peer.Stream
	mu       sync.Mutex // one order at a time
	answers  chan *report
	gone     chan struct{} // closed when the stream has ended
	troubled int           // looks in a row at which nothing went to who is behind
}

// NewLine returns a line that has nobody in it yet.
func NewLine(c LineConfig) (*Line, error) {
	if c.Patience == 0 {
		c.Patience = 2 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkPosts(c.Head.cfg.Model.Last, c.Head.cfg.Model.Config.Layers, c.Posts); err != nil {
		return nil, err
	}
	l := &Line{cfg: c, id: c.Seat.Line, broken: make(chan *post, 64), warmed: make(chan struct{}), offers: make(chan []peer.Address, 1)}
	for _, at := range c.Spares {
		l.spares = append(l.spares, &spare{at: at})
	}
	if l.id.IsZero() {
		_, _ = rand.Read(l.id[:]) // never fails
	}
	return l, nil
}

func checkPosts(first, layers int, posts []Post) error {
	for _, p := range posts {
		if p.First != first || p.Last <= p.First {
			return fmt.Errorf("shard: layers %d to %d after those up to %d", p.First, p.Last, first)
		}
		first = p.Last
	}
	if first != layers {
		return fmt.Errorf("shard: nobody has the layers from %d to %d", first, layers)
	}
	return nil
}

// Replaced is how many stages have been replaced so far.
func (l *Line) Replaced() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.replaced
}

// Held is who holds which layers behind the head, as far as they are seated.
func (l *Line) Held() []Post {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.held)
}

// Run seats the stages, says so by calling ready, and keeps the line going until ctx
// ends or a place cannot be filled.
func (l *Line) Run(ctx context.Context, ready func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	l.cfg.Head.cfg.archive = &l.cfg.Member.archive
	if err := l.cfg.Member.enter(l.id, &seat{l.cfg.Head.Stage, stop}); err != nil {
		return err
	}
	defer l.cfg.Member.leave(l.id)
	defer func() {
		for _, p := range l.posts {
			if p != nil {
				_ = p.stream.Close()
			}
		}
	}()
	if err := l.seatAll(ctx); err != nil {
		return err
	}
	if err := l.assign(ctx); err != nil {
		return err
	}
	ready()
	var warming sync.WaitGroup
	defer func() {
		stop()
		warming.Wait()
		for _, s := range l.spares {
			if s.post != nil {
				_ = s.post.stream.Close()
			}
		}
	}()
	l.warm(ctx, &warming)
	tick := time.NewTicker(l.cfg.Patience / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.broken:
		case <-tick.C:
		case nodes := <-l.offers:
			l.renew(nodes)
			continue
		}
		if err := l.look(ctx); err != nil {
			return err
		}
	}
}

// seatAll fills all places, several at a time: loading takes longest.
func (l *Line) seatAll(ctx context.Context) error {
	l.posts = make([]*post, len(l.cfg.Posts))
	errs := make([]error, len(l.posts))
	var wg sync.WaitGroup
	for i, p := range l.cfg.Posts {
		wg.Go(func() { l.posts[i], errs[i] = l.seat(ctx, p) })
	}
	wg.Wait()
	l.mu.Lock()
	l.held = slices.Clone(l.cfg.Posts)
	l.mu.Unlock()
	for i, err := range errs {
		if err == nil {
			continue
		}
		l.cfg.Log.Warn("a place of the line is to be filled otherwise", "node", l.cfg.Posts[i].Node.Node, "error", err)
		if err := l.replace(ctx, i, l.cfg.Posts[i]); err != nil {
			return err
		}
	}
	return nil
}

// seat has a node load its layers.
func (l *Line) seat(ctx context.Context, at Post) (*post, error) {
	ctx, stop := context.WithTimeout(ctx, sitTime)
	defer stop()
	stream, err := l.cfg.Member.cfg.Open(ctx, at.Node, ProtocolOrders)
	if err != nil {
		return nil, err
	}
	p := &post{Post: at, stream: stream, answers: make(chan *report), gone: make(chan struct{})}
	go p.listen(l.broken)
	s := l.cfg.Seat
	s.Line, s.First, s.Last, s.Team = l.id, at.First, at.Last, at.Team
	if _, err := p.order(ctx, sitTime, &order{Sit: &s}); err != nil {
		_ = stream.Close()
		return nil, err
	}
	return p, nil
}

// listen hears the answers, and tells when the stream has ended.
func (p *post) listen(broken chan<- *post) {
	defer func() {
		close(p.gone)
		select {
		case broken <- p:
		default: // the line is about to look anyway
		}
	}()
	for {
		r := new(report)
		if readJSON(p.stream, r) != nil {
			return
		}
		select {
		case p.answers <- r:
		case <-time.After(sitTime): // nobody asked
			return
		}
	}
}

var errGone = errors.New("the stage's stream has ended")

// order has a stage do something and returns its answer.
func (p *post) order(ctx context.Context, within time.Duration, o *order) (*report, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, stop := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer for %s", within))
	defer stop()
	end := context.AfterFunc(ctx, func() { _ = p.stream.Close() }) // an answer that is late would be taken for the next
	defer end()
	if err := writeJSON(p.stream, o); err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	select {
	case r := <-p.answers:
		if r.Error != "" {
			return nil, errors.New(r.Error)
		}
		return r, nil
	case <-p.gone:
		return nil, errors.Join(errGone, context.Cause(ctx))
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// look asks all stages how it goes, and acts on what it hears.
func (l *Line) look(ctx context.Context) error {
	reports, errs := l.ask(ctx, func(int) *order { return &order{Report: true} })
	again := false
	heard, waits := l.cfg.Head.waits()
	hangs := l.still.look(l.cfg.Head.report(), heard, waits, reports)
	for i, p := range l.posts {
		why := errs[i]
		if why == nil && i == hangs {
			why = errStandstill
		}
		if why == nil {
			why = l.slow(reports[i])
		}
		if why != nil {
			l.cfg.Log.Warn("a stage of the line is replaced", "node", p.Node.Node, "layers", fmt.Sprintf("%d-%d", p.First, p.Last-1), "error", why)
			_ = p.stream.Close()
			if err := l.replace(ctx, i, p.Post); err != nil {
				return err
			}
			again = true
		}
		if why == nil && reports[i].Trouble == "" {
			p.troubled = 0
		} else if p.troubled++; why == nil && p.troubled >= 2 {
			p.troubled, again = 0, true // both ends are well: a new epoch has them meet again
		}
	}
	if !again {
		return nil
	}
	return l.assign(ctx)
}

// slow says that a stage takes too long, if somebody else could do it. How long a step
// takes that is the first of its size nobody knows, so that has more time.
func (l *Line) slow(r *report) error {
	patience := max(l.cfg.Patience, slowTimes*time.Duration(r.WaitLeastMs)*time.Millisecond)
	if r.WaitLeastMs == 0 {
		patience *= slowTimes
	}
	if wait := time.Duration(r.WaitMs) * time.Millisecond; wait > patience {
		return fmt.Errorf("a step has taken %s so far", wait)
	}
	if len(l.spares) > 0 && r.StepMs > slowLeast && r.StepMs > slowTimes*max(r.StepLeastMs, 1) {
		return fmt.Errorf("a step takes %d ms, and one like it took %d", r.StepMs, r.StepLeastMs)
	}
	return nil
}

// ask gives all stages an order at once.
func (l *Line) ask(ctx context.Context, o func(i int) *order) ([]*report, []error) {
	reports, errs := make([]*report, len(l.posts)), make([]error, len(l.posts))
	var wg sync.WaitGroup
	for i, p := range l.posts {
		wg.Go(func() { reports[i], errs[i] = p.order(ctx, l.cfg.Patience, o(i)) })
	}
	wg.Wait()
	return reports, errs
}

// replace fills a place with the next spare that can, or with who had it before.
func (l *Line) replace(ctx context.Context, i int, had Post) error {
	var failures []error
	for len(l.spares) > 0 {
		p, at, err := l.take(ctx, had)
		if err == nil {
			l.put(i, p)
			return nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", at.Node, err))
	}
	if p := l.posts[i]; p != nil { // its node must have let go of the place
		p.leave(l.cfg.Patience)
	}
	p, err := l.seat(ctx, had)
	if err == nil {
		l.put(i, p)
		return nil
	}
	failures = append(failures, fmt.Errorf("%s: %w", had.Node.Node, err))
	return fmt.Errorf("shard: no node can hold layers %d to %d: %w", had.First, had.Last-1, errors.Join(failures...))
}

func (l *Line) put(i int, p *post) {
	l.mu.Lock()
	l.posts[i] = p
	l.replaced++
	l.held[i] = p.Post
	l.mu.Unlock()
}

// assign begins an epoch: every stage is told who is before and behind it. Who does
// not take it is replaced, and a new epoch begins.
func (l *Line) assign(ctx context.Context) error {
	for {
		l.epoch++
		live := l.cfg.Head.Live()
		_, errs := l.ask(ctx, func(i int) *order { return &order{Assign: l.place(i+1, live)} })
		failed := false
		for i, err := range errs {
			if err == nil {
				continue
			}
			failed = true
			l.cfg.Log.Warn("a stage of the line is replaced", "node", l.posts[i].Node.Node, "error", err)
			_ = l.posts[i].stream.Close()
			if err := l.replace(ctx, i, l.posts[i].Post); err != nil {
				return err
			}
		}
		if failed {
			continue
		}
		a := l.place(0, live)
		return l.cfg.Head.Assign(Assignment{Line: l.id, Epoch: a.Epoch, Prev: a.Prev, Live: live, Next: func(ctx context.Context) (io.ReadWriteCloser, error) {
			return l.cfg.Member.cfg.Open(ctx, a.Next, ProtocolRows)
		}})
	}
}

// place is who is around a place; 0 is the head's.
func (l *Line) place(i int, live []uint32) *assign {
	at := func(i int) peer.Address {
		if i %= len(l.posts) + 1; i > 0 {
			return l.posts[i-1].Node
		}
		return l.cfg.Self
	}
	prev := at(i + len(l.posts))
	return &assign{Epoch: l.epoch, Place: uint16(i), Prev: peer.Peer{Node: prev.Node, Key: prev.Key}, Next: at(i + 1), Live: live}
}
