package shard

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
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
	return &village{t: t, ca: ca, net: peer.NewMemory(), file: llmtest.Coral(t), nodes: map[core.NodeID]*villager{}}
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
		posts = append(posts, Post{v.node(n).address, first, first + 1})
	}
	var rest []peer.Address
	for _, n := range spares {
		rest = append(rest, v.node(n).address)
	}
	m, err := llm.Load(v.t.Context(), v.file, llm.Options{First: 0, Last: posts[0].First})
	if err != nil {
		v.t.Fatal(err)
	}
	h, err := NewHead(StageConfig{Model: m, Pool: newPool(v.t), Pages: 64, Batch: 24}, 16)
	if err != nil {
		v.t.Fatal(err)
	}
	l, err := NewLine(LineConfig{Head: h, Member: self.Member, Self: self.address, Seat: Seat{Model: core.DigestOf([]byte("coral")), Profile: llm.Q8, Pages: 64, Batch: 24}, Posts: posts, Spares: rest})
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
	want := alone(t, v.file, rs)
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
	same(t, (&line{t: t, head: h}).all(rs, func() {}), alone(t, v.file, rs))
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
	same(t, got, alone(t, v.file, rs))
	if l.Replaced() == 0 {
		t.Error("nobody was replaced")
	}
}

// A stage is slow that computes for too long, or much longer than it did before.
func TestSlow(t *testing.T) {
	t.Parallel()
	spare := []peer.Address{{Node: "s"}}
	for name, c := range map[string]struct {
		steps  []int64 // ms, one after the other
		wait   int64   // ms of the one that runs
		spares []peer.Address
		slow   bool
	}{
		"as ever":                  {[]int64{40, 50, 300}, 100, spare, false},
		"much slower":              {[]int64{40, 50, 400}, 0, spare, true},
		"with nobody to replace":   {[]int64{40, 50, 400}, 0, nil, false},
		"quick, though slower":     {[]int64{1, 1, 200}, 0, spare, false},
		"a step that does not end": {[]int64{40}, 2001, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &Line{cfg: LineConfig{Patience: 2 * time.Second}, spares: c.spares}
			p := &post{}
			var err error
			for i, ms := range c.steps {
				r := &report{StepMs: ms}
				if i == len(c.steps)-1 {
					r.WaitMs = c.wait
				}
				err = l.slow(p, r)
			}
			if (err != nil) != c.slow {
				t.Errorf("%v, want slow: %v", err, c.slow)
			}
		})
	}
}
