package control

import (
	"slices"
	"testing"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/peer/probe"
	"atoll/internal/shard/plan"
)

// The way to a node that cannot be dialled leads through the hub, as far as it is from
// both ends.
func TestWaysBetweenNodes(t *testing.T) {
	t.Parallel()
	const far = 40 * time.Millisecond
	c := &Control{cfg: Config{Relayed: func(id core.NodeID) (time.Duration, bool) {
		return map[core.NodeID]time.Duration{"far": far}[id], id != "direct"
	}}}
	named := func(id core.NodeID, at ...string) *node {
		return &node{doc: nodeDoc{ID: id}, said: bus.NodeOffer{PeerAt: at}}
	}
	p := &linePlan{nodes: []*node{named("direct", "192.0.2.1:8421"), named("both", "192.0.2.2:8421"), named("far"), named("new")}}
	for _, n := range p.nodes {
		p.toHub = append(p.toHub, c.toHub(n))
	}
	for _, tt := range []struct {
		a, b int
		want time.Duration
	}{{0, 1, defaultRTT}, {0, 2, hubRTT + far}, {2, 0, hubRTT + far}, {2, 3, far + hubRTT}} {
		if got := p.link(tt.a, tt.b).RTT; got != tt.want {
			t.Errorf("%s to %s takes %s, want %s", p.nodes[tt.a].doc.ID, p.nodes[tt.b].doc.ID, got, tt.want)
		}
	}
	// What is measured counts more, and the worse of two words the most.
	p.nodes[0].said.Ways = []probe.Way{{Node: "both", RTTMicros: 300, Bandwidth: 1e9}, {Node: "far", RTTMicros: 90_000, Bandwidth: 2e7}}
	p.nodes[1].said.Ways = []probe.Way{{Node: "direct", RTTMicros: 700, Bandwidth: 2e9}}
	for _, tt := range []struct {
		a, b int
		want plan.Link
	}{{0, 1, plan.Link{RTT: 700 * time.Microsecond, Bandwidth: 1e9, Measured: true}}, {2, 0, plan.Link{RTT: 90 * time.Millisecond, Bandwidth: 2e7, Measured: true}}, {1, 2, plan.Link{RTT: hubRTT + far}}} {
		if got := p.link(tt.a, tt.b); got != tt.want {
			t.Errorf("%s to %s is %+v, want %+v", p.nodes[tt.a].doc.ID, p.nodes[tt.b].doc.ID, got, tt.want)
		}
	}
	for i, want := range [][]string{{"192.0.2.1:8421"}, {"192.0.2.2:8421", "relay/both"}, {"relay/far"}, {"relay/new"}} {
		if got := c.peerAt(p.nodes[i]); !slices.Equal(got, want) {
			t.Errorf("%s is dialled at %s, want %s", p.nodes[i].doc.ID, got, want)
		}
	}
}
