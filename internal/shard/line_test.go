package shard

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/llm"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/weights"
	"atoll/internal/peer"
	"atoll/internal/shard/record"
)

// village is nodes that know one another, in a network in memory.
type village struct {
	t    testing.TB
	ca   *identity.CA
	net  *peer.Memory
	file *weights.Model
	in   llm.Profile

	mu    sync.Mutex
	nodes map[core.NodeID]*villager
}

type villager struct {
	*Member
	end     *peer.Endpoint
	address peer.Address
	public  identity.PublicKey
}

func newVillage(t testing.TB) *village {
	t.Helper()
	ca, err := identity.LoadOrCreateCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &village{t: t, ca: ca, net: peer.NewMemory(), file: llmtest.Coral(t), in: llm.Q8, nodes: map[core.NodeID]*villager{}}
}

// node starts a node that listens at its name.
func (v *village) node(name core.NodeID) *villager {
	v.t.Helper()
	key, err := identity.Generate()
	if err != nil {
		v.t.Fatal(err)
	}
	text, err := v.ca.IssueNode(name, key.Public())
	if err != nil {
		v.t.Fatal(err)
	}
	cert, err := identity.NodeCertificate(text, key)
	if err != nil {
		v.t.Fatal(err)
	}
	n := &villager{address: peer.Address{Node: name, Key: key.Public().Digest(), At: []string{string(name)}}, public: key.Public()}
	n.Member = NewMember(MemberConfig{
		Pool: newPool(v.t), Allow: func(context.Context, peer.Peer, *Seat) error { return nil },
		Open: func(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error) {
			return n.end.Open(ctx, to, protocol)
		},
		Load: func(ctx context.Context, s *Seat) (*llm.Model, error) {
			return llm.Load(ctx, v.file, s.Options())
		},
		Seal: func(s *record.Statement) ([]byte, error) {
			s.Node = name
			return record.Seal(s, key.Seal)
		},
		Audit: func(peer.Peer, *RowsRequest) error { return nil },
	})
	n.end, err = peer.New(peer.Config{
		Certificate: func() (*tls.Certificate, error) { return cert, nil }, CA: v.ca.PEM(), Dial: v.net.Dialler(string(name)), Handlers: n.Handlers(),
	})
	if err != nil {
		v.t.Fatal(err)
	}
	l, err := v.net.Listen(string(name))
	if err != nil {
		v.t.Fatal(err)
	}
	go func() { _ = n.end.Serve(l) }()
	v.t.Cleanup(func() { _ = n.end.Close() })
	v.mu.Lock()
	defer v.mu.Unlock()
	v.nodes[name] = n
	return n
}

// line starts a line with a layer for each of the named nodes behind the head, which
// has the rest.
func (v *village) line(spares []core.NodeID, nodes ...core.NodeID) (*Line, *Head) {
	v.t.Helper()
	self := v.node("head")
	layers := v.file.Config.Layers
	var posts []Post
	for i, n := range nodes {
		first := layers - len(nodes) + i
		posts = append(posts, Post{Node: v.node(n).address, First: first, Last: first + 1})
	}
	var rest []peer.Address
	for _, n := range spares {
		rest = append(rest, v.node(n).address)
	}
	m, err := llm.Load(v.t.Context(), v.file, llm.Options{Profile: v.in, First: 0, Last: posts[0].First})
	if err != nil {
		v.t.Fatal(err)
	}
	h, err := NewHead(StageConfig{Model: m, Pool: newPool(v.t), Pages: 64, Batch: 24}, 16)
	if err != nil {
		v.t.Fatal(err)
	}
	l, err := NewLine(LineConfig{Head: h, Member: self.Member, Self: self.address, Seat: Seat{Model: core.DigestOf([]byte("coral")), Profile: v.in, Pages: 64, Batch: 24}, Posts: posts, Spares: rest})
	if err != nil {
		v.t.Fatal(err)
	}
	return l, h
}

// run has the line run, and returns when it does.
func run(t testing.TB, l *Line, h *Head) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	ready := make(chan struct{})
	wg.Go(func() { h.Run(ctx) })
	wg.Go(func() {
		if err := l.Run(ctx, func() { close(ready) }); !errors.Is(err, context.Canceled) {
			t.Errorf("the line has ended: %v", err)
		}
	})
	<-ready
}

// Nodes of a line die, connections break, and every text is the one that the whole
// model draws by itself.
func TestLine(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	rs := requests(v.file, t, 4, 60)
	want := alone(t, v.file, llm.Q8, rs)
	l, h := v.line([]core.NodeID{"s-1", "s-2", "s-3", "s-4"}, "a", "b", "c")
	run(t, l, h)
	r := rand.New(rand.NewPCG(3, 3))
	var mu sync.Mutex
	heard, next, killed := 0, 20, 0
	names := []core.NodeID{"head", "a", "b", "c", "s-1", "s-2", "s-3", "s-4"}
	got := (&line{t: t, head: h}).all(rs, func() {
		mu.Lock()
		defer mu.Unlock()
		if heard++; heard < next {
			return
		}
		next += 30
		if killed < 4 && r.IntN(3) > 0 {
			n := v.nodes[[]core.NodeID{"b", "c", "s-1", "a"}[killed]]
			killed++
			go func() { _ = n.end.Close() }()
			return
		}
		v.net.Cut(string(names[r.IntN(len(names))]), string(names[r.IntN(len(names))]))
	})
	same(t, got, want)
	if l.Replaced() == 0 { // the last to die may have done its work
		t.Errorf("%d nodes were killed, none replaced", killed)
	}
}

// A node that is not let in, or cannot load the layers, is passed over.
func TestLineFillsPlaces(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	rs := requests(v.file, t, 1, 8)
	l, h := v.line([]core.NodeID{"s-1", "s-2"}, "a", "b")
	v.nodes["a"].cfg.Allow = func(context.Context, peer.Peer, *Seat) error { return errors.New("not here") }
	v.nodes["s-1"].cfg.Load = func(context.Context, *Seat) (*llm.Model, error) {
		return nil, fmt.Errorf("no such model")
	}
	run(t, l, h)
	same(t, (&line{t: t, head: h}).all(rs, func() {}), alone(t, v.file, llm.Q8, rs))
}

// A stage that stands still, though its connections do not end, is replaced.
func TestStandstill(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	rs := requests(v.file, t, 3, 20)
	l, h := v.line([]core.NodeID{"s-1"}, "a", "b")
	run(t, l, h)
	var once sync.Once
	got := (&line{t: t, head: h}).all(rs, func() {
		once.Do(func() { t.Cleanup(v.net.Hold("a")) })
	})
	same(t, got, alone(t, v.file, llm.Q8, rs))
	if l.Replaced() == 0 {
		t.Error("nobody was replaced")
	}
}

// A stage that answers orders, and does nothing else, is replaced.
func TestIdler(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	rs := requests(v.file, t, 3, 20)
	l, h := v.line([]core.NodeID{"s-1"}, "a", "b")
	l.cfg.Patience = 600 * time.Millisecond
	run(t, l, h)
	var once sync.Once
	got := (&line{t: t, head: h}).all(rs, func() {
		once.Do(func() {
			a := v.nodes["a"].Member
			a.mu.Lock()
			stage := a.seats[l.id].stage
			a.mu.Unlock()
			stage.mu.Lock()
			defer stage.mu.Unlock()
			stage.hold = func([]*sequence) []*sequence { return nil }
		})
	})
	same(t, got, alone(t, v.file, llm.Q8, rs))
	if !slices.ContainsFunc(l.Held(), func(p Post) bool { return p.Node.Node == "s-1" }) {
		t.Errorf("%v have the places", l.Held())
	}
}

func TestStandstillIsPlaced(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		waits  bool
		stages []*report
		want   int
	}{
		"the first":            {true, []*report{{Held: 9}, {Held: 9}}, 0},
		"the second":           {true, []*report{{Held: 10}, {Held: 9}}, 1},
		"all have everything":  {true, []*report{{Held: 10}, {Held: 10}}, 1},
		"one is busy":          {true, []*report{{Held: 9}, {Held: 9, WaitMs: 1}}, -1},
		"one has not answered": {true, []*report{nil, {Held: 9}}, -1},
		"the head is at work":  {false, []*report{{Held: 9}, {Held: 9}}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := standstill{done: 5}
			got := -1
			for range maxLooks {
				if got >= 0 {
					t.Fatal("too early")
				}
				got = s.look(&report{Held: 10}, 5, c.waits, c.stages)
			}
			if got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
			s.looks = maxLooks - 1
			if s.look(&report{Held: 10}, 6, c.waits, c.stages) >= 0 {
				t.Error("a token was heard, and the line stands still")
			}
		})
	}
}

// A stage is slow that computes for much longer than it did before.
func TestSlow(t *testing.T) {
	t.Parallel()
	one := []*spare{{}}
	for name, c := range map[string]struct {
		report report
		spares []*spare
		slow   bool
	}{
		"as ever":                  {report{StepMs: 300, StepLeastMs: 40, WaitMs: 100, WaitLeastMs: 40}, one, false},
		"much slower":              {report{StepMs: 400, StepLeastMs: 40}, one, true},
		"with nobody to replace":   {report{StepMs: 400, StepLeastMs: 40}, nil, false},
		"quick, though slower":     {report{StepMs: 200, StepLeastMs: 1}, one, false},
		"a step that does not end": {report{WaitMs: 2001, WaitLeastMs: 40}, nil, true},
		"steps that are long":      {report{WaitMs: 7000, WaitLeastMs: 1000}, nil, false},
		"much longer than that":    {report{WaitMs: 8001, WaitLeastMs: 1000}, nil, true},
		"the first of its size":    {report{WaitMs: 9000}, nil, false},
		"that does not end":        {report{WaitMs: 16001}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &Line{cfg: LineConfig{Patience: 2 * time.Second}, spares: c.spares}
			if err := l.slow(&c.report); (err != nil) != c.slow {
				t.Errorf("%v, want slow: %v", err, c.slow)
			}
		})
	}
}

// Steps are compared with those of about their size.
func TestPace(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	var p pace
	run := func(positions int, ms time.Duration) {
		p.begin([]job{{n: positions}}, now)
		now = now.Add(ms * time.Millisecond)
		p.end(now)
	}
	want := func(w report) {
		t.Helper()
		var r report
		if p.report(&r, now); r.StepMs != w.StepMs || r.StepLeastMs != w.StepLeastMs || r.WaitMs != w.WaitMs || r.WaitLeastMs != w.WaitLeastMs {
			t.Errorf("%+v, want %+v", r, w)
		}
	}
	want(report{})
	run(1, 5)
	run(120, 300)
	want(report{StepMs: 300, StepLeastMs: 300})
	run(1, 7)
	want(report{StepMs: 7, StepLeastMs: 5})
	p.begin([]job{{n: 120, span: llm.Span{First: 4000}}}, now)
	want(report{StepMs: 7, StepLeastMs: 5})
	p.begin([]job{{n: 60}, {n: 40}}, now)
	now = now.Add(time.Second)
	want(report{StepMs: 7, StepLeastMs: 5, WaitMs: 1000, WaitLeastMs: 300})
}

// A spare has loaded before it is needed, and one that has other layers loads anew.
func TestWarmSpares(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	rs := requests(v.file, t, 2, 60)
	l, h := v.line([]core.NodeID{"s-1", "s-2", "s-3"}, "a", "b")
	var mu sync.Mutex
	loads := map[core.NodeID][]int{} // first layers
	for name, n := range v.nodes {
		load := n.cfg.Load
		n.cfg.Load = func(ctx context.Context, s *Seat) (*llm.Model, error) {
			mu.Lock()
			defer mu.Unlock()
			loads[name] = append(loads[name], s.First)
			return load(ctx, s)
		}
	}
	run(t, l, h)
	<-l.Warm() // s-1 and s-3 have a's layers, s-2 has b's
	heard := 0
	got := (&line{t: t, head: h}).all(rs, func() {
		mu.Lock()
		defer mu.Unlock()
		heard++
		for i, n := range []core.NodeID{"b", "s-2"} { // the second has no spare of its own
			if heard == 20*(i+1) {
				go func() { _ = v.nodes[n].end.Close() }()
			}
		}
	})
	same(t, got, alone(t, v.file, llm.Q8, rs))
	mu.Lock()
	defer mu.Unlock()
	layers := v.file.Config.Layers
	a, b := layers-2, layers-1
	for name, want := range map[core.NodeID][]int{"a": {a}, "b": {b}, "s-1": {a, b}, "s-2": {b}, "s-3": {a}} {
		if !slices.Equal(loads[name], want) {
			t.Errorf("%s has loaded the layers from %v on, want %v", name, loads[name], want)
		}
	}
}

// Nodes that have appeared since can take places, and those that are gone are not asked.
func TestOfferedSpares(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	rs := requests(v.file, t, 2, 60)
	l, h := v.line(nil, "a", "b")
	late, gone := v.node("late"), v.node("gone")
	gone.cfg.Allow = func(context.Context, peer.Peer, *Seat) error {
		t.Error("one that is not offered any more was asked")
		return errors.New("gone")
	}
	run(t, l, h)
	l.Offer([]peer.Address{gone.address})
	l.Offer([]peer.Address{v.nodes["a"].address, late.address})
	heard := 0
	var mu sync.Mutex
	got := (&line{t: t, head: h}).all(rs, func() {
		mu.Lock()
		defer mu.Unlock()
		if heard++; heard == 20 {
			go func() { _ = v.nodes["b"].end.Close() }()
		}
	})
	same(t, got, alone(t, v.file, llm.Q8, rs))
	if l.Replaced() != 1 || l.Held()[1].Node.Node != "late" {
		t.Errorf("%d replaced, %+v", l.Replaced(), l.Held())
	}
}
