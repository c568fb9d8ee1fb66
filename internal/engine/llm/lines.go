package llm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/llm"
	"atoll/internal/llm/weights"
	"atoll/internal/peer"
	"atoll/internal/repro"
	"atoll/internal/shard"
	"atoll/internal/shard/charter"
	"atoll/internal/shard/record"
)

// lines are the models that this node computes together with others: as a member it
// holds layers for their heads, and it heads lines itself.
type lines struct {
	e      *Engine
	near   engine.Neighbours
	member *shard.Member

	mu      sync.Mutex
	told    charter.Book
	heads   map[charter.ID]*head
	changed chan struct{} // closed, and made anew, when either changes
}

// How long a head's order waits for the charter that allows it, which comes on
// another way.
const charterTime = 10 * time.Second

var _ engine.Sharer = (*Engine)(nil)

// Join implements engine.Sharer.
func (e *Engine) Join(n engine.Neighbours) map[string]peer.Handler {
	l := &lines{e: e, near: n, heads: map[charter.ID]*head{}, changed: make(chan struct{})}
	l.member = shard.NewMember(shard.MemberConfig{Open: n.Open, Pool: e.pool, Load: l.load, Allow: l.allow, Seal: l.seal, Audit: l.mayAudit, Log: e.cfg.Log})
	e.lines = l
	return l.member.Handlers()
}

// Charter implements engine.Sharer.
func (e *Engine) Charter(c *charter.Charter) {
	l := e.lines
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.ctx.Err() != nil {
		return
	}
	now := time.Now()
	known := l.told.Of(c.Line, now) != nil
	if !l.told.Hear(c, now) {
		return
	}
	time.AfterFunc(c.TTL(), l.expire)
	switch h := l.heads[c.Line]; {
	case h != nil:
		h.offer(c.Spares)
	case !known && c.Head().Node == l.near.Self.Node:
		l.lead(c)
	}
	l.tell()
}

// tell wakes those who wait for a change; mu is held.
func (l *lines) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// expire ends all that charters have allowed whose time is over.
func (l *lines) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := l.told.Expire(time.Now())
	for _, id := range ended {
		l.member.Dismiss(id)
		if h := l.heads[id]; h != nil {
			h.stop()
			delete(l.heads, id)
		}
	}
	if len(ended) > 0 {
		l.tell()
	}
}

// charterOf waits until a line's charter has come.
func (l *lines) charterOf(ctx context.Context, id charter.ID) (*charter.Charter, error) {
	ctx, stop := context.WithTimeout(ctx, charterTime)
	defer stop()
	for {
		l.mu.Lock()
		c, changed := l.told.Of(id, time.Now()), l.changed
		l.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, core.Errorf(core.Forbidden, "line %s: the hub has not told this node of it", id.Short())
		}
	}
}

// allow is shard.MemberConfig.Allow.
func (l *lines) allow(ctx context.Context, from peer.Peer, s *shard.Seat) error {
	c, err := l.charterOf(ctx, s.Line)
	switch {
	case err != nil:
		return err
	case s.Model != c.Model || string(s.Profile) != c.Profile:
		return core.Errorf(core.Forbidden, "line %s is of model %s, profile %s", s.Line.Short(), c.Model.Short(), c.Profile)
	}
	return c.Allow(l.near.Self.Node, from, s.Claim())
}

// load is shard.MemberConfig.Load.
func (l *lines) load(ctx context.Context, s *shard.Seat) (*llm.Model, error) {
	c, err := l.charterOf(ctx, s.Line)
	if err != nil {
		return nil, err
	}
	m, _, err := l.layers(ctx, c, s.Options())
	return m, err
}

// layers reads some of a model's layers, or a share of them.
func (l *lines) layers(ctx context.Context, c *charter.Charter, o llm.Options) (*llm.Model, *weights.Model, error) {
	f, err := l.near.Fetch(ctx, c.Model, c.Size)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, f.Close)() // reads know no context
	w, err := weights.FromGGUF("the model", f, c.Size)
	if err != nil {
		return nil, nil, err
	}
	if err := ensure(ctx, f, w, o); err != nil {
		return nil, nil, fmt.Errorf("layers %d to %d of model %s: %w", o.First, o.Last, c.Model.Short(), err)
	}
	m, err := llm.Load(ctx, w, o)
	return m, w, err
}

// ensure brings the tensors that are to be loaded.
func ensure(ctx context.Context, f engine.ModelFile, w *weights.Model, o llm.Options) error {
	tensors, err := o.Tensors(&w.Config)
	if err != nil {
		return err
	}
	var ranges []blob.Range
	for _, id := range tensors {
		t, err := w.Tensor(id.ID)
		if err != nil {
			return err
		}
		size, err := t.Type.RowBytes(t.Cols)
		if err != nil {
			return err
		}
		ranges = append(ranges, blob.Range{Off: t.Offset + int64(id.First)*int64(size), Size: int64(id.Len()) * int64(size)})
	}
	return f.Ensure(ctx, ranges...)
}

// head is a line that this node heads.
type head struct {
	*served
	of    *charter.Charter
	first *shard.Head // set before ready, as line
	line  *shard.Line
	stop  context.CancelFunc

	mu        sync.Mutex
	ready     bool
	trouble   string
	tokens    int64
	answering int
}

// lead begins a line; mu is held.
func (l *lines) lead(c *charter.Charter) {
	ctx, stop := context.WithCancel(l.e.ctx)
	h := &head{of: c, stop: stop}
	l.heads[c.Line] = h
	l.e.wg.Go(func() {
		defer stop()
		err := h.run(ctx, l)
		if ctx.Err() != nil {
			return
		}
		l.e.cfg.Log.Warn("a line has ended", "line", c.Line.Short(), "service", c.Service, "error", err)
		h.mu.Lock()
		h.ready, h.trouble = false, core.Clip(err.Error(), 500)
		h.mu.Unlock()
		l.noteChange()
	})
	l.tell()
}

func (l *lines) noteChange() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell()
}

// run seats the line and keeps it going until it fails or ctx ends.
func (h *head) run(ctx context.Context, l *lines) error {
	c := h.of
	m, w, err := l.layers(ctx, c, llm.Options{Profile: llm.Profile(c.Profile), First: c.Stages[0].First, Last: c.Stages[0].Last})
	if err != nil {
		return err
	}
	pages, active := room(&w.Config, m.Profile, c.Stages)
	sh, err := shard.NewHead(shard.StageConfig{Model: m, Pool: l.e.pool, Pages: pages, Log: l.e.cfg.Log}, active)
	if err != nil {
		return err
	}
	cfg := shard.LineConfig{
		Head: sh, Member: l.member, Self: c.Head(), Spares: c.Spares, Log: l.e.cfg.Log.With("line", c.Line.Short(), "service", c.Service),
		Seat: shard.Seat{Line: c.Line, Model: c.Model, Profile: m.Profile, Pages: pages, Batch: stageBatch},
	}
	for _, s := range c.Stages[1:] {
		cfg.Posts = append(cfg.Posts, shard.Post{Node: s.Node, First: s.First, Last: s.Last, Team: s.Team})
	}
	line, err := shard.NewLine(cfg)
	if err != nil {
		return err
	}
	computing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { sh.Run(computing) })
	defer wg.Wait()
	defer stop()
	h.mu.Lock()
	h.first, h.line = sh, line
	h.served = &served{model: m, batcher: h, line: h, byBytes: func() map[string]int32 { return tokensByBytes(m.Tokens) }}
	h.mu.Unlock()
	return line.Run(ctx, func() {
		h.mu.Lock()
		h.ready = true
		h.mu.Unlock()
		l.e.cfg.Log.Info("a line answers", "line", c.Line.Short(), "service", c.Service, "stages", len(c.Stages))
		l.noteChange()
	})
}

const (
	stageBatch = 128     // positions that a stage computes at once
	stageCache = 1 << 30 // bytes of keys and values that a stage keeps, if that is enough for one answer
	mostActive = 16      // answers at a time
)

// room is how many pages of keys and values each stage of a line has, and how many
// answers of any length that the model can give have room in them.
func room(c *weights.Config, p llm.Profile, stages []charter.Stage) (pages, active int) {
	most := 0
	for _, s := range stages {
		most = max(most, s.Last-s.First)
	}
	whole := (c.Context + repro.PagePositions - 1) / repro.PagePositions // of one answer
	answer := p.CacheBytes(c) * int64(most*whole*repro.PagePositions)
	active = min(max(int(stageCache/answer), 1), mostActive)
	return whole * active, active
}

// Generate implements generator.
func (h *head) Generate(ctx context.Context, r llm.Request) iter.Seq2[llm.Token, error] {
	return h.answer(ctx, r, nil)
}

// answer is Generate, and has all stages account for what they have done, which
// accounted is told when the last token was taken.
func (h *head) answer(ctx context.Context, r llm.Request, accounted func(shard.Accounts, error)) iter.Seq2[llm.Token, error] {
	var ended func(uint32, int)
	if accounted != nil {
		ended = func(sequence uint32, positions int) {
			ctx, stop := context.WithTimeout(ctx, accountTime)
			defer stop()
			accounted(h.line.Account(ctx, sequence, positions))
		}
	}
	return func(yield func(llm.Token, error) bool) {
		h.count(0, 1)
		defer h.count(0, -1)
		for t, err := range h.first.Answer(ctx, r, ended) {
			if err == nil {
				h.count(1, 0)
			}
			if !yield(t, err) {
				return
			}
		}
	}
}

// accountTime is how long the stages may take to account for an answer: one that was
// replaced a moment ago has all of it to compute first.
const accountTime = 30 * time.Second

// seal is shard.MemberConfig.Seal.
func (l *lines) seal(s *record.Statement) ([]byte, error) {
	s.Node = l.near.Self.Node
	return record.Seal(s, l.near.Seal)
}

// offer says who can take stages' places from now on.
func (h *head) offer(spares []peer.Address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.line != nil {
		h.line.Offer(spares)
	}
}

func (h *head) count(tokens, answering int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens += int64(tokens)
	h.answering += answering
}

// state is what the hub is told.
func (h *head) state() charter.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := h.of.Stages[0]
	s := charter.State{
		Line: h.of.Line, Service: h.of.Service, Model: h.of.Model, Ready: h.ready, Trouble: h.trouble, Tokens: h.tokens, Answering: h.answering,
		Stages: []charter.Held{{Node: first.Node.Node, First: first.First, Last: first.Last}},
	}
	if h.line != nil {
		s.Replaced = h.line.Replaced()
		for _, p := range h.line.Held() {
			held := charter.Stage{Node: p.Node, First: p.First, Last: p.Last, Team: p.Team}
			s.Stages = append(s.Stages, held.Held())
		}
	}
	return s
}

// statesEvery is how often the numbers of lines are told.
const statesEvery = time.Second

// Lines implements engine.Sharer.
func (e *Engine) Lines(ctx context.Context, tell func([]charter.State)) {
	l := e.lines
	ticks := time.NewTicker(statesEvery)
	defer ticks.Stop()
	r := &rates{at: time.Now(), tokens: map[charter.ID]int64{}, rate: map[charter.ID]int64{}}
	for {
		l.mu.Lock()
		changed := l.changed
		states := make([]charter.State, 0, len(l.heads))
		for _, h := range l.heads {
			states = append(states, h.state())
		}
		l.mu.Unlock()
		slices.SortFunc(states, func(a, b charter.State) int { return bytes.Compare(a.Line[:], b.Line[:]) })
		r.fill(states, time.Now())
		tell(states)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticks.C:
		}
	}
}

// rates are how fast lines have drawn since they were last looked at.
type rates struct {
	at           time.Time
	tokens, rate map[charter.ID]int64
}

// fill sets the states' rates, which are measured anew when some time has passed.
func (r *rates) fill(states []charter.State, now time.Time) {
	took := now.Sub(r.at)
	if took >= statesEvery {
		r.at = now
	}
	for i := range states {
		s := &states[i]
		if took >= statesEvery {
			r.rate[s.Line] = int64(float64(s.Tokens-r.tokens[s.Line]) / took.Seconds() * 1000)
			r.tokens[s.Line] = s.Tokens
		}
		s.Rate = r.rate[s.Line]
	}
}

// instanceOf is an instance of a line that is ready.
func (e *Engine) instanceOf(m engine.Model) (engine.Instance, error) {
	var h *head
	if l := e.lines; l != nil {
		l.mu.Lock()
		h = l.heads[m.Line]
		l.mu.Unlock()
	}
	if h == nil || h.of.Model != m.Digest {
		return nil, fmt.Errorf("llm: this node heads no line %s of the model", m.Line.Short())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready {
		return nil, errors.Join(fmt.Errorf("llm: line %s does not answer", m.Line.Short()), errors.New(h.trouble))
	}
	return &instance{e: e, m: m, line: h}, nil
}
