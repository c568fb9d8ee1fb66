package control

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/node/measure"
	"atoll/internal/peer/probe"
	"atoll/internal/request"
	"atoll/internal/shard/charter"
)

// troupe are nodes that hold lines as honest ones do: the head of each charter that is
// heard says that it is ready, until the charter is over.
type troupe struct {
	*world
	heard  map[core.NodeID]map[charter.ID]*charter.Charter
	busy   map[charter.ID]int // answers under way
	silent map[core.NodeID]bool
	far    map[core.NodeID]time.Duration // to all others; 0: a millisecond
	ways   map[core.NodeID][]probe.Way   // as they were measured
}

func newTroupe(t *testing.T, nodes ...string) *troupe {
	t.Helper()
	p := &troupe{world: newWorld(t), heard: map[core.NodeID]map[charter.ID]*charter.Charter{}, busy: map[charter.ID]int{}, silent: map[core.NodeID]bool{}, far: map[core.NodeID]time.Duration{}, ways: map[core.NodeID][]probe.Way{}}
	for _, n := range nodes {
		p.add(core.NodeID(n), 4<<30)
	}
	return p
}

func (p *troupe) add(id core.NodeID, rate int64) {
	n := p.join(id, core.AccountID("of-"+id), "FR", 10)
	p.heard[id] = map[charter.ID]*charter.Charter{}
	n.says = func(o *bus.NodeOffer) {
		o.Ways = p.ways[id]
		o.PeerAt, o.Bench, o.Memory = []string{string(id) + ":1"}, map[string]int64{measure.ModelBytes: rate}, 8<<30
		for _, c := range p.heard[id] {
			if c.Head().Node != id {
				continue
			}
			s := charter.State{Line: c.Line, Service: c.Service, Model: c.Model, Ready: true, Answering: p.busy[c.Line]}
			for _, st := range c.Stages {
				s.Stages = append(s.Stages, st.Held())
			}
			o.Lines = append(o.Lines, s)
		}
	}
}

// live lets time pass in which nodes hear what they are told, and speak.
func (p *troupe) live(d time.Duration) {
	p.t.Helper()
	for range d / (500 * time.Millisecond) {
		for _, m := range p.sent {
			if m.kind == bus.KindProbe {
				p.measure(m)
			}
			if m.kind != bus.KindLine || p.silent[m.node] {
				continue
			}
			c, err := charter.Open(m.data, p.key.Public())
			if err != nil {
				p.t.Fatal(err)
			}
			if p.heard[m.node][c.Line] = c; c.TTLMs == charter.Over {
				delete(p.heard[m.node], c.Line)
			}
		}
		p.sent = nil
		for id, n := range p.nodes {
			if !p.silent[id] {
				p.beat(n)
			}
		}
		p.pass(500 * time.Millisecond)
	}
}

// measure does what a node is asked.
func (p *troupe) measure(m message) {
	p.t.Helper()
	var ask bus.Probe
	if err := bus.Decode(m.data, &ask); err != nil || len(ask.Peers) > bus.MaxWays {
		p.t.Fatal(ask, err)
	}
	p.ways[m.node] = nil
	for _, a := range ask.Peers {
		rtt := max(time.Millisecond, p.far[m.node], p.far[a.Node])
		p.ways[m.node] = append(p.ways[m.node], probe.Way{Node: a.Node, RTTMicros: rtt.Microseconds(), Bandwidth: 1e9})
	}
}

func (p *troupe) serve(pipeline string) {
	p.t.Helper()
	if _, err := p.hub.PutService(p.t.Context(), request.Viewer{Account: "demo"}, "big", api.ServiceSpec{Model: "echo", Pipeline: pipeline}); err != nil {
		p.t.Fatal(err)
	}
}

// serving has the nodes known to the hub, and gives a line of theirs time to answer.
func (p *troupe) serving(pipeline string) {
	p.t.Helper()
	p.live(time.Second)
	p.serve(pipeline)
	p.live(time.Second)
}

func (p *troupe) line() *api.Line {
	p.t.Helper()
	s, err := p.hub.Service(p.t.Context(), "big")
	if err != nil {
		p.t.Fatal(err)
	}
	return s.Line
}

func holders(l *api.Line) (out []string) {
	for _, s := range l.Stages {
		out = append(out, string(s.Node))
	}
	slices.Sort(out)
	return out
}

// A line is planned, told to all whom it names and to nobody else, and answers; its
// charter is said again for as long as it is wanted, and it is told when it is over.
func TestLineIsKept(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, "a", "b", "c")
	p.serving("2")
	l := p.line()
	if l.State != "ready" || len(l.Stages) != 2 || len(l.Spares) != 1 || l.Stages[0].Layers[0] != 0 || l.Stages[1].Layers[1] != 8 || l.Price != 10 {
		t.Fatalf("%+v", l)
	}
	for id, lines := range p.heard {
		for _, c := range lines {
			if c.Service != "big" || c.Hub != "hub" || c.Model != p.model.Digest || c.TTLMs <= tellLineMs || len(c.Nodes()) != 3 {
				t.Errorf("%s has heard %+v", id, c)
			}
		}
		if len(lines) != 1 {
			t.Errorf("%s has heard of %d lines", id, len(lines))
		}
	}
	before := maps.Clone(p.heard["a"])
	p.live(time.Minute)
	for id, c := range before {
		if p.heard["a"][id] == nil || p.heard["a"][id].SealedMs < c.SealedMs+40_000 {
			t.Errorf("the charter was not said again: %+v", p.heard["a"][id])
		}
	}
	if again := p.line(); again.ID != l.ID {
		t.Errorf("the line has changed: %+v", again)
	}
	if err := p.hub.DeleteService(t.Context(), request.Viewer{Account: "demo"}, "big"); err != nil {
		t.Fatal(err)
	}
	p.live(time.Second)
	for id, lines := range p.heard {
		if len(lines) != 0 {
			t.Errorf("%s still holds %v", id, lines)
		}
	}
}

// Leases of a line's tasks go to its head, and wait while there is none.
func TestLeasesGoToTheHead(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, "a", "b", "c")
	p.live(time.Second)
	p.serve("2")
	on := func(line string) func(*api.TaskSpec) {
		return func(s *api.TaskSpec) { s.Placement = &api.Placement{Line: line} }
	}
	id := p.mustSubmit(on("big")).ID
	p.live(2 * time.Second)
	line := p.line()
	leases, _, err := p.hub.Leases(t.Context(), request.Viewer{Account: "demo"}, id, request.Page{Limit: 10})
	if err != nil || len(leases) != 1 || leases[0].Node != line.Stages[0].Node {
		t.Fatalf("%+v, %v: the head is %s", leases, err, line.Stages[0].Node)
	}
	p.silent[line.Stages[0].Node] = true
	p.live(10 * time.Second)
	next := p.line()
	if next.ID == line.ID || next.State != "ready" || next.Stages[0].Node == line.Stages[0].Node {
		t.Fatalf("the head is gone, and the line is %+v", next)
	}
	leases, _, err = p.hub.Leases(t.Context(), request.Viewer{Account: "demo"}, id, request.Page{Limit: 10})
	if err != nil || len(leases) < 2 || leases[1].Node != next.Stages[0].Node {
		t.Errorf("%+v, %v: the head is %s", leases, err, next.Stages[0].Node)
	}
	if _, err := p.submit("", on("nothing")); err == nil || !strings.Contains(err.Error(), "service") {
		t.Errorf("a line of no service is asked for: %v", err)
	}
}

// When nodes come that make a better line, it is made beside the old one, which ends what
// it answers before it is over.
func TestBetterLineTakesOver(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, "a", "b")
	p.serving("2")
	old := p.line()
	var id charter.ID
	if err := id.UnmarshalText([]byte(old.ID)); err != nil {
		t.Fatal(err)
	}
	p.busy[id] = 1
	p.add("fast-1", 40<<30)
	p.add("fast-2", 40<<30)
	p.live(30 * time.Second)
	l := p.line()
	if l.State != "ready" || !slices.Equal(holders(l), []string{"fast-1", "fast-2"}) {
		t.Fatalf("%+v", l)
	}
	head := old.Stages[0].Node
	if p.heard[head][id] == nil {
		t.Fatal("the old line has ended though it answers")
	}
	p.busy[id] = 0
	p.live(5 * time.Second)
	if p.heard[head][id] != nil {
		t.Error("the old line has no answers any more, and goes on")
	}
	p.live(time.Minute)
	if again := p.line(); again.ID != l.ID {
		t.Errorf("it was planned anew for nothing: %+v", again)
	}
}

// A hub that is restarted goes on with the lines that there are.
func TestLineOutlivesTheHub(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, "a", "b", "c")
	p.serving("3")
	old := p.line()
	p.reopen()
	p.live(3 * time.Second)
	if l := p.line(); l.State != "ready" || l.ID != old.ID {
		t.Errorf("%+v, before %+v", l, old)
	}
}

// A node that is not welcome any more has no part in a line, whatever its head says.
func TestRevokedNodesLeaveTheLine(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, "a", "b", "c")
	p.serving("2")
	last := p.line().Stages[1].Node
	if _, err := p.hub.Revoke(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	p.silent[last] = true
	p.live(5 * time.Second)
	if l := p.line(); l.State != "ready" || slices.Contains(holders(l), string(last)) {
		t.Errorf("%+v, and %s was revoked", l, last)
	}
}

// Who cannot hold layers is passed over, with the reason.
func TestLineNeedsNodes(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, "a")
	p.serving("2")
	if l := p.line(); l.State != "planning" || l.Why == "" {
		t.Errorf("%+v", l)
	}
	p.add("b", 4<<30)
	p.live(3 * time.Second)
	if l := p.line(); l.State != "ready" {
		t.Errorf("%+v", l)
	}
	for profile, pipeline := range map[string]string{"q8/4,6": "4", "q8/8": "2"} {
		params := map[string]json.RawMessage{"profile": json.RawMessage(`"` + profile + `"`)}
		_, err := p.hub.PutService(t.Context(), request.Viewer{Account: "demo"}, "bad", api.ServiceSpec{Model: "echo", Pipeline: pipeline, Terms: api.Terms{Params: params}})
		if core.KindOf(err) != core.Invalid {
			t.Errorf("profile %s, pipeline %s: %v", profile, pipeline, err)
		}
	}
	for _, bad := range []string{"1", "many", "-2", "1000", "9"} {
		_, err := p.hub.PutService(t.Context(), request.Viewer{Account: "demo"}, "bad", api.ServiceSpec{Model: "echo", Pipeline: bad})
		if core.KindOf(err) != core.Invalid {
			t.Errorf("pipeline %q: %v", bad, err)
		}
	}
}

// A node whose result was found wrong holds nobody's layers, and the hub does not forget.
func TestLiarsHoldNoLayers(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, "a", "b", "liar")
	p.live(time.Second)
	p.mustSubmit(quorum)
	p.pass(500 * time.Millisecond)
	for _, id := range []core.NodeID{"a", "b", "liar"} {
		result := map[bool]string{true: "false", false: "true"}[id == "liar"]
		for _, l := range p.leases(id) {
			p.report(p.nodes[id], l, result, nil)
		}
	}
	p.serve("2")
	blind := p.mustSubmit(nil)
	for range 2 {
		p.pass(500 * time.Millisecond)
		if given := p.leases("liar"); len(given) != 0 {
			t.Errorf("unchecked work was given to it: %+v", given)
		}
		if why := p.task(blind.ID).NotChosen; len(why) == 0 || why[0].Node != "liar" {
			t.Errorf("%+v", why)
		}
		p.live(3 * time.Second)
		l := p.line()
		if l.State != "ready" || slices.Contains(holders(l), "liar") || len(l.Spares) != 0 {
			t.Errorf("%+v", l)
		}
		if !slices.ContainsFunc(l.Left, func(n api.NotChosen) bool { return n.Node == "liar" && strings.Contains(n.Reason, "wrong") }) {
			t.Errorf("left out: %+v", l.Left)
		}
		p.reopen()
	}
	p.pass(suspectMs * time.Millisecond)
	p.live(3 * time.Second)
	if l := p.line(); l.State != "ready" || len(l.Left)+len(l.Spares)+len(l.Stages) != 3 || len(l.Left) != 0 && strings.Contains(l.Left[0].Reason, "wrong") {
		t.Errorf("after its time: %+v", l)
	}
}

// A profile that names boundaries is cut there and nowhere else, and its rows are short.
func TestLineIsCutWhereTheProfileSays(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, "a", "b")
	p.live(time.Second)
	spec := api.ServiceSpec{Model: "echo", Pipeline: "2", Terms: api.Terms{Params: map[string]json.RawMessage{"profile": json.RawMessage(`"q8/4,6"`)}}}
	if _, err := p.hub.PutService(t.Context(), request.Viewer{Account: "demo"}, "big", spec); err != nil {
		t.Fatal(err)
	}
	p.live(time.Second)
	l := p.line()
	if l.State != "ready" || l.Stages[1].Layers[0] != 4 && l.Stages[1].Layers[0] != 6 || l.RowBytes != 1152 {
		t.Errorf("%+v", l)
	}
	for _, c := range p.heard["a"] {
		if c.Profile != "q8/4,6" {
			t.Errorf("%+v", c)
		}
	}
}

// Nodes measure the ways between them, and a line that was made before they had gives
// way to one that is better now.
func TestFarNodesAreLeft(t *testing.T) {
	t.Parallel()
	p := newTroupe(t, "a", "b", "c")
	p.far["a"], p.far["b"] = 300*time.Millisecond, 200*time.Millisecond
	p.add("d", 4<<30)
	p.serving("2")
	if l := p.line(); l.State != "ready" {
		t.Errorf("%+v", l)
	}
	p.live(time.Minute)
	l := p.line()
	if got := holders(l); !slices.Equal(got, []string{"c", "d"}) || l.Stages[0].RTTMs != 1 || l.Stages[0].Mbit != 1000 {
		t.Errorf("%+v", l)
	}
	asked := p.hub.nodes["a"].probedMs
	p.live(time.Minute)
	if p.hub.nodes["a"].probedMs != asked {
		t.Error("it is asked again though it has told all")
	}
	p.far["c"] = time.Second // another line now
	p.live(probeEveryMs*time.Millisecond + time.Minute)
	if got := holders(p.line()); !slices.Equal(got, []string{"b", "d"}) {
		t.Errorf("%v when c has become far", got)
	}
}
