package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"atoll/internal/core"
	"atoll/internal/llm"
	"atoll/internal/peer"
	"atoll/internal/repro"
	"atoll/internal/shard/record"
)

// StageConfig for NewStage. Model and Pool are required.
type StageConfig struct {
	Model *llm.Model // the range of layers that is here
	Pool  *repro.Pool
	Pages int          // of keys and values; default: four whole contexts
	Batch int          // positions computed at once; default 128
	Log   *slog.Logger // default: none

	archive *archive // of the rows that were sent; nil: they are not kept
	team    *team    // that computes the layers with this node; nil: it does so alone
}

// Stage computes one range of a line's layers. Its methods may be called from any
// goroutine; Run computes.
type Stage struct {
	cfg     StageConfig
	dim     int
	first   bool        // it has the embedding: it is the head's
	last    bool        // it has the output: it draws
	rowsIn  llm.RowForm // of what comes, but at the head
	rowsOut llm.RowForm // of what goes on, but from the last

	forward func([]llm.Span) ([]float32, error) // of its decoder, or of a team's
	hidden  []float32                           // what it computes from, but at the head
	cache   *llm.Cache                          // owned by mu

	mu       sync.Mutex
	came     *sync.Cond // there may be something to compute
	grown    *sync.Cond // or to send
	sending  sync.WaitGroup
	stopped  bool
	line     LineID
	epoch    uint32
	place    uint16
	seqs     map[uint32]*sequence
	order    []uint32           // of seqs, as they were opened
	openings int                // bytes of theirs
	live     map[uint32]bool    // sequences that the assignment speaks of; true: since ended
	ended    []*sequence        // whose pages are given back after the step
	in       io.Closer          // the stream that is read
	stopOut  context.CancelFunc // ends what is sent
	busy     bool               // the decoder computes
	prev     peer.Peer          // who sends rows; the zero Peer: anybody
	trouble  string             // why nothing goes to who is behind
	disband  error              // why the team has broken up, if it has while nothing was computed
	total    int64              // positions computed
	pace     pace               // of its steps

	turn uint32 // the sequence that was computed last

	// At the head:
	arrived func([]token)                 // hears what was drawn
	hold    func([]*sequence) []*sequence // says which of those that wait are computed now
}

// NewStage makes room for a stage that is in no line yet.
func NewStage(c StageConfig) (*Stage, error) {
	m := c.Model
	if c.Batch == 0 {
		c.Batch = 128
	}
	if c.Pages == 0 {
		c.Pages = 4 * (m.Config.Context + repro.PagePositions - 1) / repro.PagePositions
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if m.HasEmbedding() && m.HasOutput() {
		return nil, errors.New("shard: a whole model is no stage: see llm.Batcher")
	}
	if err := cuttable(m); err != nil {
		return nil, err
	}
	dc := llm.DecoderConfig{Pages: c.Pages, Batch: c.Batch, Context: m.Config.Context}
	if c.team != nil {
		dc.Team = c.team
	}
	d, err := llm.NewDecoder(m, c.Pool, dc)
	if err != nil {
		return nil, err
	}
	s := &Stage{
		cfg: c, dim: m.Config.Dim, first: m.HasEmbedding(), last: m.HasOutput(), cache: llm.NewCache(c.Pages),
		rowsIn: m.Profile.RowsBefore(m.First, &m.Config), rowsOut: m.Profile.RowsBefore(m.Last, &m.Config),
		seqs: map[uint32]*sequence{}, stopOut: func() {},
	}
	if !s.first {
		s.hidden = make([]float32, c.Batch*s.dim)
	}
	if s.forward = d.Forward; c.team != nil {
		s.forward = c.team.lead(d, stepFormOf(m, c.Batch, c.Pages))
	}
	s.came, s.grown = sync.NewCond(&s.mu), sync.NewCond(&s.mu)
	return s, nil
}

// cuttable reports whether the profile allows a stage of these layers.
func cuttable(m *llm.Model) error {
	cuts := m.Profile.Cuts()
	for _, at := range []int{m.First, m.Last} {
		if len(cuts) > 0 && at > 0 && at < m.Config.Layers && !slices.Contains(cuts, at) {
			return core.Errorf(core.Invalid, "layers %d to %d: profile %s is cut before layers %v only", m.First, m.Last-1, m.Profile, cuts)
		}
	}
	return nil
}

// Assignment is a stage's place in a line, as the head tells it.
type Assignment struct {
	Line  LineID
	Epoch uint32
	Place uint16 // 0 is the head
	// Next opens a stream to who is behind: for the last stage that is the head.
	Next func(context.Context) (io.ReadWriteCloser, error)
	// Prev is who is before, and alone may send rows; the zero Peer: anybody.
	Prev peer.Peer
	// Live are the sequences that go on. Others are forgotten.
	Live []uint32
}

// Assign gives the stage its place, from now on. An assignment of an epoch that is
// over is refused.
func (s *Stage) Assign(a Assignment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return errStopped
	case a.Line != s.line:
		for _, id := range slices.Clone(s.order) {
			s.forget(id)
		}
	case a.Epoch <= s.epoch:
		return fmt.Errorf("shard: epoch %d, and %d was before", a.Epoch, s.epoch)
	}
	for _, id := range slices.Clone(s.order) {
		if !s.first && !slices.Contains(a.Live, id) { // the head knows best
			s.forget(id)
		}
	}
	s.line, s.epoch, s.place, s.live = a.Line, a.Epoch, a.Place, map[uint32]bool{}
	for _, id := range a.Live {
		s.live[id] = false
	}
	s.prev, s.trouble = a.Prev, ""
	s.stopOut()
	if s.in != nil {
		_ = s.in.Close()
		s.in = nil
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stopOut = func() { stop(); s.grown.Broadcast() }
	s.sending.Go(func() { s.send(ctx, a) })
	return nil
}

var errStopped = errors.New("shard: the stage has stopped")

// forget drops a sequence. It is called with mu held.
func (s *Stage) forget(id uint32) {
	defer s.grown.Broadcast()
	defer s.came.Signal() // others may have waited for it
	if _, ok := s.live[id]; ok {
		s.live[id] = true // whoever is behind may have it, though this stage never had
	}
	q := s.seqs[id]
	if q == nil {
		return
	}
	delete(s.seqs, id)
	s.openings -= len(q.Opening)
	if s.cfg.archive != nil {
		s.cfg.archive.keep(keptRows{s.line, id, s.rowsOut.Bytes(), q.out, time.Now()})
	}
	s.order = slices.DeleteFunc(s.order, func(o uint32) bool { return o == id })
	if s.busy {
		s.ended = append(s.ended, q)
	} else {
		q.pages.End()
	}
}

// open begins a sequence, or refuses it; mu is held. The error is of who asks, who
// should know how many a stage takes.
func (s *Stage) open(o *opened, tokens []int32) error {
	if s.seqs[o.Sequence] != nil {
		return nil
	}
	if len(s.seqs) >= maxSequences {
		return malformed("more than %d sequences", maxSequences)
	}
	q := &sequence{opened: *o, tokens: tokens, received: len(tokens)}
	q.start = (&record.Terms{Prompt: int(o.Prompt), Limit: int(o.Limit), Opening: o.Opening}).Start()
	q.chainIn, q.chainOut, q.chainLogits = record.New(q.start), record.New(q.start), record.New(q.start)
	q.pages, _ = s.cache.Begin("", nil)
	switch {
	case o.Prompt == 0 || o.Limit <= o.Prompt || int(o.Limit) > s.cfg.Model.Config.Context:
		q.why = fmt.Sprintf("a sequence of %d positions after a prompt of %d: the context is %d", o.Limit, o.Prompt, s.cfg.Model.Config.Context)
	case s.openings+len(o.Opening) > maxOpenings:
		q.why = "the stage has no room for another sequence"
	case q.pages.Grow(int(o.Limit)) != nil:
		q.why = "the stage has no room for the sequence"
	case s.last:
		var err error
		if q.drawer, err = drawer(s.cfg.Model, s.cfg.Pool.ISA(), q.Opening); err != nil {
			q.why = err.Error()
		}
	}
	if q.Opening = nil; q.why == "" { // who is behind hears why, and needs no more
		q.Opening = slices.Clone(o.Opening)
		s.openings += len(q.Opening)
	}
	s.seqs[o.Sequence] = q
	s.order = append(s.order, o.Sequence)
	s.came.Signal()
	s.grown.Broadcast()
	return nil
}

// halt ends all that the stage does; mu is held.
func (s *Stage) halt() {
	s.stopped = true
	s.stopOut()
	if s.in != nil {
		_ = s.in.Close()
	}
	s.came.Signal()
}

// disbanded ends a stage whose team has broken up; mu is held.
func (s *Stage) disbanded(err error) {
	s.cfg.Log.Warn("a stage has ended", "line", fmt.Sprintf("%x", s.line[:4]), "place", s.place, "error", err)
	s.halt()
}

// Run computes until ctx ends, or the stage's team has broken up, and then forgets all.
func (s *Stage) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.halt()
	})
	defer stop()
	defer s.sending.Wait()
	if t := s.cfg.team; t != nil {
		defer t.watch(func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.disband = err
			s.came.Signal()
		})()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.stopped {
		if s.disband != nil {
			s.disbanded(s.disband)
			return
		}
		work := s.gather()
		if len(work) == 0 {
			s.came.Wait()
			continue
		}
		s.busy = true
		s.pace.begin(work, time.Now())
		s.mu.Unlock()
		err := s.compute(work)
		s.mu.Lock()
		if err != nil {
			s.disbanded(err)
			return
		}
		s.pace.end(time.Now())
		s.busy = false
		s.store(work)
		for _, q := range s.ended {
			q.pages.End()
		}
		s.ended = nil
		s.grown.Broadcast()
	}
}

// report says how it goes.
func (s *Stage) report() *report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &report{Computed: s.total, Trouble: s.trouble}
	s.pace.report(r, time.Now())
	for _, q := range s.seqs {
		if q.why == "" {
			r.Waiting += int64(q.received - q.computed)
			r.Held += int64(q.computed)
		}
	}
	return r
}
