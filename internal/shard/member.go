package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"atoll/internal/core"
	"atoll/internal/llm"
	"atoll/internal/peer"
	"atoll/internal/repro"
	"atoll/internal/shard/record"
)

// MemberConfig for NewMember. All but Log and Seats are required.
type MemberConfig struct {
	Open func(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error)
	Pool *repro.Pool
	// Load reads a range of a model's layers.
	Load func(ctx context.Context, s *Seat) (*llm.Model, error)
	// Allow says whether who asks, a head or a team's leader, may have this node hold
	// layers. It may wait to know.
	Allow func(ctx context.Context, from peer.Peer, s *Seat) error
	// Seal signs what a stage says it has done; nil: it accounts for nothing.
	Seal func(*record.Statement) ([]byte, error)
	// Audit says whether an auditor may have rows; nil: no.
	Audit func(auditor peer.Peer, q *RowsRequest) error
	Seats int          // lines at a time; default 4
	Log   *slog.Logger // default: none
}

// Member is a node that holds stages of other nodes' lines. A stage lives as long as
// its head's stream of orders.
type Member struct {
	cfg MemberConfig

	archive archive

	mu    sync.Mutex
	seats map[LineID]*seat
}

// seat is a place that is taken.
type seat struct {
	stage *Stage             // nil while it loads, and of a team's follower
	stop  context.CancelFunc // ends it
}

// NewMember returns a member of no line yet.
func NewMember(c MemberConfig) *Member {
	if c.Seats == 0 {
		c.Seats = 4
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Member{cfg: c, seats: map[LineID]*seat{}}
}

// Handlers are for peer.Config.
func (m *Member) Handlers() map[string]peer.Handler {
	return map[string]peer.Handler{ProtocolOrders: m.orders, ProtocolRows: m.rows, ProtocolAudit: m.audits, ProtocolTeam: m.follow}
}

// rows hands a stream of rows to the stage that it is for.
func (m *Member) rows(_ context.Context, s peer.Stream) {
	if err := m.accept(s); err != nil && !errors.Is(err, io.EOF) {
		m.cfg.Log.Info("a stream of rows has ended", "from", s.Peer().Node, "error", err)
	}
}

// accept finds the stage by the stream's first message. Who sends is known by the
// line's name, which only its members are told, and by the epoch.
func (m *Member) accept(s peer.Stream) error {
	d := newDecoder(s)
	h, err := d.hello()
	if err != nil {
		return err
	}
	stage := m.stage(h.Line)
	if stage == nil {
		return fmt.Errorf("%w: no such line", errStale)
	}
	return stage.accept(h, d, s, s.Peer())
}

// orders serves a head until its stream ends, and the stage with it.
func (m *Member) orders(ctx context.Context, s peer.Stream) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	var o order
	if err := readJSON(s, &o); err != nil || o.Sit == nil {
		return
	}
	line := o.Sit.Line
	stage, err := m.sit(ctx, stop, s.Peer(), o.Sit)
	if err != nil {
		_ = writeJSON(s, &report{Error: err.Error()})
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer stop() // it may have ended by itself
		stage.Run(ctx)
	}()
	defer func() {
		stop()
		<-done
		m.leave(line)
	}()
	seat := o.Sit
	for r := stage.report(); ; r = m.obey(stage, seat, &o) {
		if writeJSON(s, r) != nil {
			return
		}
		if o = (order{}); readJSON(s, &o) != nil {
			return
		}
	}
}

// sit loads the layers and makes the stage known.
func (m *Member) sit(ctx context.Context, stop context.CancelFunc, head peer.Peer, s *Seat) (*Stage, error) {
	if s.Member != 0 || len(s.Team) > 0 && s.First == 0 {
		return nil, core.Errorf(core.Invalid, "member %d of a team of %d from layer %d on: a head orders about leaders, and leads no team itself", s.Member, len(s.Team), s.First)
	}
	var stage *Stage
	err := m.take(ctx, stop, head, s, func() (err error) {
		stage, err = m.load(ctx, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seats[s.Line].stage = stage
	return stage, nil
}

// take takes a place for who asks, if that is allowed and load succeeds.
func (m *Member) take(ctx context.Context, stop context.CancelFunc, from peer.Peer, s *Seat, load func() error) error {
	if err := m.cfg.Allow(ctx, from, s); err != nil {
		return err
	}
	if err := m.enter(s.Line, &seat{stop: stop}); err != nil {
		return err
	}
	err := load()
	if err != nil {
		m.leave(s.Line)
	}
	return err
}

// stage is this node's in a line; nil if there is none.
func (m *Member) stage(line LineID) *Stage {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.seats[line]; s != nil {
		return s.stage
	}
	return nil
}

// Dismiss ends what this node holds for a line, if it holds anything.
func (m *Member) Dismiss(line LineID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.seats[line]; s != nil {
		s.stop()
	}
}

// enter takes a place for a line. The first who names a line has it.
func (m *Member) enter(line LineID, s *seat) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.seats[line]; taken {
		return core.Errorf(core.Conflict, "this node is in the line already")
	}
	if len(m.seats) >= m.cfg.Seats {
		return core.Errorf(core.Unavailable, "this node is in %d lines, which is as many as it may be in", m.cfg.Seats)
	}
	m.seats[line] = s
	return nil
}

func (m *Member) leave(line LineID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.seats, line)
}

// load loads a stage, and its team's shares at the same time.
func (m *Member) load(ctx context.Context, s *Seat) (*Stage, error) {
	c := StageConfig{Pool: m.cfg.Pool, Pages: s.Pages, Batch: s.Batch, Log: m.cfg.Log, archive: &m.archive}
	within, stop := context.WithTimeout(ctx, sitTime) // the head has given it up by then
	defer stop()
	g, loading := errgroup.WithContext(within)
	g.Go(func() (err error) {
		c.Model, err = m.cfg.Load(loading, s)
		return err
	})
	if len(s.Team) > 0 {
		g.Go(func() (err error) {
			c.team, err = m.gatherTeam(ctx, loading, s)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return NewStage(c)
}

// account signs for what a stage has done.
func (m *Member) account(stage *Stage, seat *Seat, a *account) ([]byte, error) {
	if m.cfg.Seal == nil {
		return nil, core.Errorf(core.Unsupported, "this node accounts for nothing")
	}
	s, err := stage.statement(a.Sequence, a.Positions)
	if err != nil {
		return nil, err
	}
	s.Line, s.Model, s.Profile, s.First, s.Last = seat.Line, seat.Model, string(seat.Profile), seat.First, seat.Last
	s.Team = len(seat.Team) > 0
	return m.cfg.Seal(s)
}

// obey does what the head orders.
func (m *Member) obey(stage *Stage, seat *Seat, o *order) *report {
	line := seat.Line
	switch {
	case o.Report:
	case o.Account != nil:
		sealed, err := m.account(stage, seat, o.Account)
		if err != nil {
			return &report{Error: err.Error()}
		}
		return &report{Statement: sealed}
	case o.Assign != nil:
		a := o.Assign
		err := stage.Assign(Assignment{Line: line, Epoch: a.Epoch, Place: a.Place, Prev: a.Prev, Live: a.Live, Next: func(ctx context.Context) (io.ReadWriteCloser, error) {
			return m.cfg.Open(ctx, a.Next, ProtocolRows)
		}})
		if err != nil {
			return &report{Error: err.Error()}
		}
	default:
		return &report{Error: "an order that is not known"}
	}
	return stage.report()
}
