package shard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/llm"
	"atoll/internal/llm/weights"
	"atoll/internal/peer"
)

// team adds followers to a place of a line that has not begun.
func (v *village) team(l *Line, place int, speeds []int, followers ...core.NodeID) {
	v.t.Helper()
	p := &l.cfg.Posts[place]
	p.Team = []Mate{{Node: p.Node, Speed: speeds[0]}}
	for i, name := range followers {
		p.Team = append(p.Team, Mate{Node: v.node(name).address, Speed: speeds[i+1]})
	}
}

// A line with teams says what one machine says.
func TestTeams(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	c := v.file.Config
	c.Heads, c.KVHeads, c.HeadDim, c.Context = 6, 3, 16, 128
	c.RoPE.Dim = c.HeadDim
	var err error
	if v.file, err = weights.Random(c, 1); err != nil {
		t.Fatal(err)
	}
	rs := requests(v.file, t, 4, 24)
	l, h := v.line(nil, "a", "b")
	v.team(l, 0, []int{1, 2, 1}, "a-1", "a-2")
	v.team(l, 1, []int{3, 2}, "b-1")
	run(t, l, h)
	same(t, (&line{t: t, head: h}).all(rs, func() {}), alone(t, v.file, llm.Q8, rs))
	if l.Replaced() > 0 {
		t.Errorf("%d were replaced", l.Replaced())
	}
	for name, n := range v.nodes {
		n.mu.Lock()
		if len(n.seats) != 1 {
			t.Errorf("%s has %d seats", name, len(n.seats))
		}
		n.mu.Unlock()
	}
}

// A follower that dies, or stands still, takes its stage with it, whose place a spare
// takes alone; nothing of it is seen in the texts.
func TestTeamBreaksUp(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*village){
		"dies":         func(v *village) { _ = v.nodes["a-1"].end.Close() },
		"stands still": func(v *village) { v.t.Cleanup(v.net.Hold("a-1")) },
		"is dismissed": func(v *village) { v.nodes["a-1"].dismissAll() },
		"its leader":   func(v *village) { _ = v.nodes["a"].end.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVillage(t)
			rs := requests(v.file, t, 3, 100)
			l, h := v.line([]core.NodeID{"s-1"}, "a", "b")
			l.cfg.Patience = 600 * time.Millisecond
			v.team(l, 0, []int{1, 1}, "a-1")
			run(t, l, h)
			<-l.Warm()
			var mu sync.Mutex
			heard := 0
			got := (&line{t: t, head: h}).all(rs, func() {
				mu.Lock()
				defer mu.Unlock()
				if heard++; heard == 20 {
					end(v)
				}
			})
			same(t, got, alone(t, v.file, llm.Q8, rs))
			if held := l.Held()[0]; l.Replaced() == 0 || held.Node.Node != "s-1" || held.Team != nil {
				t.Errorf("%d were replaced, %+v has the place", l.Replaced(), held)
			}
		})
	}
}

// dismissAll has the node leave all lines.
func (n *villager) dismissAll() {
	n.mu.Lock()
	var lines []LineID
	for id := range n.seats {
		lines = append(lines, id)
	}
	n.mu.Unlock()
	for _, id := range lines {
		n.Dismiss(id)
	}
}

// A follower that dies while nothing is to be computed is missed at once.
func TestIdleTeamBreaksUp(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	l, h := v.line([]core.NodeID{"s-1"}, "a", "b")
	v.team(l, 0, []int{1, 1}, "a-1")
	run(t, l, h)
	_ = v.nodes["a-1"].end.Close()
	for deadline := time.Now().Add(10 * time.Second); l.Held()[0].Node.Node != "s-1"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v has the place", l.Held()[0])
		}
	}
}

// When a line ends its followers leave it too.
func TestFollowersLeave(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	l, h := v.line(nil, "a")
	v.team(l, 0, []int{1, 1}, "a-1")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go h.Run(ctx)
	go func() { ended <- l.Run(ctx, func() { close(ready) }) }()
	<-ready
	stop()
	<-ended
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		v.nodes["a-1"].mu.Lock()
		left := len(v.nodes["a-1"].seats)
		v.nodes["a-1"].mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it has a seat still")
		}
	}
}

// A follower that is not let in leaves the place to somebody else.
func TestFollowerIsNotAllowed(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	rs := requests(v.file, t, 1, 8)
	l, h := v.line([]core.NodeID{"s-1"}, "a", "b")
	v.team(l, 0, []int{1, 1}, "a-1")
	v.nodes["a-1"].cfg.Allow = func(_ context.Context, from peer.Peer, s *Seat) error {
		if from.Node != "a" || s.Member != 1 || len(s.Team) != 2 || s.First != l.cfg.Posts[0].First {
			t.Errorf("%s asks for %+v", from.Node, s)
		}
		return errors.New("not here")
	}
	run(t, l, h)
	same(t, (&line{t: t, head: h}).all(rs, func() {}), alone(t, v.file, llm.Q8, rs))
	if !slices.ContainsFunc(l.Held(), func(p Post) bool { return p.Node.Node == "s-1" }) {
		t.Errorf("%v have the places", l.Held())
	}
}

// A team that has broken up is asked nothing more, and no sequence is to blame.
func TestBrokenTeamComputesNothing(t *testing.T) {
	t.Parallel()
	s := middle(t)
	calls := 0
	s.forward = func([]llm.Span) ([]float32, error) {
		calls++
		return nil, broken(errors.New("a lie"))
	}
	work := []job{{q: &sequence{}}, {q: &sequence{}}}
	if err := s.compute(work); !errors.Is(err, errTeam) || calls != 1 || work[0].err != nil || work[1].err != nil {
		t.Errorf("%v after %d steps: %v, %v", err, calls, work[0].err, work[1].err)
	}
}
