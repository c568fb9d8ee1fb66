package control

import (
	"encoding/json"
	"slices"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/node/measure"
	"atoll/internal/peer"
	"atoll/internal/peer/relay"
	"atoll/internal/shard/charter"
	"atoll/internal/shard/plan"
)

// What is assumed of what was not measured, and how much a plan counts on.
const (
	defaultModelRate = 4 << 30 // bytes of weights that a node goes through in a second
	planSequences    = 8       // answers under way
)

// linePlan is a plan with the nodes that its numbers stand for.
type linePlan struct {
	*plan.Plan
	Rate1    float64 // tokens of one answer in a second
	nodes    []*node
	barred   []api.NotChosen
	toHub    []time.Duration // there and back, of nodes
	price    core.Money
	rowBytes int64
	largest  int64 // bytes of the largest stage
}

// lineNodes are the nodes that may hold layers for a service, by name, and those that
// may not after what they have done. It is called with mu held.
func (c *Control) lineNodes(s *api.Service) (out []*node, barred []api.NotChosen) {
	m := c.models[s.Model]
	spec := s.Spec(s.Model).WithDefaults()
	t := &task{Task: lifecycle.Task{Account: s.Owner, Engine: m.Engine, ModelDigest: m.Digest, ModelSize: m.Size}}
	if err := t.readTerms(&spec); err != nil {
		c.log.Error("service cannot be planned", "service", s.Name, "error", err)
		return nil, nil
	}
	for _, o := range c.offers {
		n := c.nodes[o.Node]
		switch why := t.req.Never(o, t.Terms.MaxCost); {
		case len(c.peerAt(n)) > 0 && why == "":
			out = append(out, n)
		case o.Suspect:
			barred = append(barred, api.NotChosen{Node: n.doc.ID, Owner: n.doc.Owner, Reason: why})
		}
	}
	return out, barred
}

// planOf is the plan of a line that is there. It is called with mu held, as planLine.
func (c *Control) planOf(s *api.Service, stages []charter.Held) (*linePlan, error) {
	shape, err := c.shapeOf(s.Model, profileOf(s))
	if err != nil {
		return nil, err
	}
	if n := len(stages); n == 0 || stages[n-1].Last != shape.Layers {
		return nil, core.Errorf(core.Invalid, "stages that are not all of the %d layers", shape.Layers)
	}
	p := &linePlan{Plan: &plan.Plan{}}
	_, p.barred = c.lineNodes(s)
	for _, h := range stages {
		st := plan.Stage{Node: len(p.nodes), First: h.First, Last: h.Last}
		for i, id := range h.Nodes() {
			n := c.nodes[id]
			if n == nil {
				return nil, core.Errorf(core.NotFound, "no node %s", id)
			}
			if p.nodes = append(p.nodes, n); len(h.Team) > 0 {
				st.Team = append(st.Team, st.Node+i)
			}
		}
		p.Stages = append(p.Stages, st)
	}
	r := c.planRequest(p, shape)
	p.Token, p.Rate = plan.Standing(r, p.Stages)
	p.complete(r)
	return p, nil
}

// planLine finds the best nodes for a service now.
func (c *Control) planLine(s *api.Service) (*linePlan, error) {
	stages, err := pipelineStages(s.Pipeline)
	if err != nil {
		return nil, err
	}
	shape, err := c.shapeOf(s.Model, profileOf(s))
	if err != nil {
		return nil, err
	}
	p := &linePlan{}
	p.nodes, p.barred = c.lineNodes(s)
	if len(p.nodes) == 0 {
		return nil, core.Errorf(core.Unavailable, "no node that it may run on can be reached by others")
	}
	r := c.planRequest(p, shape)
	r.Stages = stages
	if p.Plan, err = plan.Make(r); err != nil {
		return nil, err
	}
	p.complete(r)
	return p, nil
}

// planRequest is what is known of a model and a plan's nodes.
func (c *Control) planRequest(p *linePlan, shape *ModelShape) *plan.Request {
	r := &plan.Request{
		Model: plan.Model{
			Layers: shape.Layers, Layer: shape.Layer + shape.Cache*int64(shape.Context), Embedding: shape.Embedding, Output: shape.Output, Row: shape.Row, Cuts: shape.Cuts, Shares: shape.Shares, Parts: shape.Parts,
		},
		Sequences: planSequences, Link: p.link,
	}
	for _, n := range p.nodes {
		rate := modelRate(n)
		takes := func(bytes int64) time.Duration {
			return time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
		}
		p.toHub = append(p.toHub, c.toHub(n))
		r.Nodes = append(r.Nodes, plan.Node{ID: n.doc.ID, Layer: takes(shape.Layer), Output: takes(shape.Output), Memory: lent(n.offer), Speed: speedOf(rate)})
	}
	return r
}

// complete is what follows from a plan's stages.
func (p *linePlan) complete(r *plan.Request) {
	p.Rate1, p.rowBytes = 1/p.Token.Seconds(), r.Model.Row
	for _, st := range p.Stages {
		p.largest = max(p.largest, int64(st.Last-st.First)*r.Model.Layer+max(r.Model.Embedding, r.Model.Output))
	}
	p.price = p.priceOf(r.Model.Layers)
}

// member is a node's part in a stage: so much of the speed of all.
type member struct{ node, speed, of int }

// team are who compute a stage, its leader first: often one.
func (p *linePlan) team(s *plan.Stage) (out []member) {
	if s.Team == nil {
		return []member{{s.Node, 1, 1}}
	}
	of := 0
	for _, i := range s.Team {
		speed := speedOf(modelRate(p.nodes[i]))
		of += speed
		out = append(out, member{node: i, speed: speed})
	}
	for i := range out {
		out[i].of = of
	}
	return out
}

// modelRate is how many bytes of weights a node goes through in a second.
func modelRate(n *node) int64 {
	if rate := n.said.Bench[measure.ModelBytes]; rate > 0 {
		return rate
	}
	return defaultModelRate
}

// speedOf is a rate as a team's speed.
func speedOf(rate int64) int { return int(min(max(rate>>20, 1), charter.MaxSpeed)) }

// priceOf is what a request costs: each stage its share of what its nodes ask for a
// lease, and the head no less than that.
func (p *linePlan) priceOf(layers int) core.Money {
	var sum core.Money
	for _, s := range p.Stages {
		for _, m := range p.team(&s) {
			all := int64(layers) * int64(m.of)
			share := (int64(p.nodes[m.node].offer.Price)*int64(s.Last-s.First)*int64(m.speed) + all - 1) / all
			sum += core.Money(share)
		}
	}
	return max(sum, p.nodes[p.Stages[0].Node].offer.Price)
}

// lent is how much memory a node lends to layers: what is not another's, of what it
// offers.
func lent(o *market.Offer) int64 {
	if o.Memory <= 0 {
		return 1 << 30
	}
	return o.Memory / 2
}

// holdsLargest reports whether a node could take any stage's place.
func (p *linePlan) holdsLargest(n *node) bool { return lent(n.offer) >= p.largest }

// left says which nodes have no place.
func (p *linePlan) left() []api.NotChosen {
	out := slices.Clone(p.barred)
	for _, l := range p.Left {
		n := p.nodes[l.Node]
		if slices.ContainsFunc(p.Spares, func(i int) bool { return i == l.Node }) {
			continue // it has a place of a kind
		}
		out = append(out, api.NotChosen{Node: n.doc.ID, Owner: n.doc.Owner, Reason: l.Why})
	}
	return out
}

// shapeOf looks into a model's file; what it finds is kept with the model. It is called
// with mu held.
func (c *Control) shapeOf(model, profile string) (*ModelShape, error) {
	m := c.models[model]
	if m.shape == nil {
		unpin, ok := c.cfg.Blobs.Pin(m.Digest)
		if !ok {
			return nil, core.Errorf(core.Internal, "the file of model %s is not there", model)
		}
		defer unpin()
		facts, err := c.cfg.Models(m.Engine, c.cfg.Blobs.Path(m.Digest))
		if err != nil {
			return nil, err
		}
		if facts.Shape == nil {
			return nil, core.Errorf(core.Invalid, "model %s runs on engine %s: only models of engine llm can be held by several nodes", model, m.Engine).At("pipeline")
		}
		m.shape = facts.Shape
	}
	return m.shape(profile)
}

// peerOf is where other nodes find a node.
func (c *Control) peerOf(n *node) peer.Address {
	key, err := identity.ParsePublicKey(n.doc.PublicKey)
	if err != nil { // it was parsed when the node joined
		c.log.Error("key of a node", "node", n.doc.ID, "error", err)
	}
	return peer.Address{Node: n.doc.ID, Key: key.Digest(), At: c.peerAt(n)}
}

// peerAt is where other nodes can dial a node, best first: at its own addresses, or
// through the hub.
func (c *Control) peerAt(n *node) []string {
	at := slices.Clone(n.said.PeerAt)
	if _, ok := c.relayed(n); ok {
		at = append(at, relay.Address(n.doc.ID))
	}
	return at
}

func (c *Control) relayed(n *node) (rtt time.Duration, ok bool) {
	if c.cfg.Relayed == nil {
		return 0, false
	}
	return c.cfg.Relayed(n.doc.ID)
}

// toHub is how long a word from a node to the hub and back takes: as measured where the
// node is attached to the relay, else a guess.
func (c *Control) toHub(n *node) time.Duration {
	if rtt, _ := c.relayed(n); rtt > 0 {
		return rtt
	}
	return hubRTT
}

// profileOf is the arithmetic that a service's requests are computed in.
func profileOf(s *api.Service) string { return profileIn(s.Params) }

func profileIn(params map[string]json.RawMessage) string {
	var p string
	if raw, ok := params["profile"]; ok && json.Unmarshal(raw, &p) == nil && p != "" {
		return p
	}
	return "q8"
}

// checkPlaces refuses a service that no node could hold, or not several.
func (c *Control) checkPlaces(spec *api.ServiceSpec, engine string) error {
	if spec.Pipeline == "" && engine != "llm" {
		return nil
	}
	c.mu.Lock()
	shape, err := c.shapeOf(spec.Model, profileIn(spec.Params))
	c.mu.Unlock()
	if err != nil || spec.Pipeline == "" {
		return err
	}
	stages, err := pipelineStages(spec.Pipeline)
	if err != nil {
		return err
	}
	if n := len(shape.Cuts); n > 0 && stages > n+1 {
		return core.Errorf(core.Invalid, "profile %s may be cut before layers %v, so at most %d nodes can hold the model, not %d", profileIn(spec.Params), shape.Cuts, n+1, stages).At("pipeline")
	}
	if stages > shape.Layers {
		return core.Errorf(core.Invalid, "model %s has %d layers, so at most so many nodes can hold it, not %d", spec.Model, shape.Layers, stages).At("pipeline")
	}
	if v := spec.Verification; v != nil && v.Method != "none" && v.Method != "reexecute" {
		return core.Errorf(core.Invalid, "a model on several nodes is one line, which %s cannot ask twice", v.Method).At("verification.method").WithHint("use reexecute: another owner runs a sample again")
	}
	return nil
}
