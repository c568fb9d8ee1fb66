// Package plan decides which node holds which layers of a model. It is pure: what is
// measured comes in, the plan goes out.
//
// A token goes through all layers, each on the node that has it, and from node to
// node in a ring: the head sends it on its way, and the last node tells the head what
// it has drawn. What that takes is the sum of layers and hops; how many tokens come
// out, with several sequences under way, is bounded by the slowest stage too:
//
//	rate = min(sequences / token, 1 / slowest stage)
//
// The best plan is found exactly. For each set of nodes, and each choice of the head
// and the last among them, dynamic programming gives the shortest way through the
// others; the layers then go to the fastest first, for their times add up, as many as
// its memory holds and as its stage may take; and how long a stage may take is found
// by bisection, for more of it never makes a token later.
//
// Where a model may be cut at some layers only, each such choice is an upper bound, and
// they are tried from the best on until none can come close: the layers are given out
// along the shortest way, by dynamic programming over the cuts. That is exact but for
// the order of the nodes in the middle.
//
// Of plans whose rates are nearly the same, that is taken by which a token comes round
// soonest, and of those the one with the fewest stages.
//
// Where nodes are left over, a stage behind the head may be a team: several nodes that
// divide each of its layers' outputs among them and gather them four times a layer (see
// package shard). To the plan a team is a node of its own, as fast as the slowest of the
// members' shares and the gathering make it. One is made of a stage and a node that is
// left over, if the best plan with it is so much better and there still is a spare, and if
// the ways between its members have been measured: a guess would decide it.
package plan

import (
	"time"

	"atoll/internal/core"
)

// Node is what was measured of a node. Times are for one position.
type Node struct {
	ID     core.NodeID
	Layer  time.Duration // for one layer
	Output time.Duration // for the logits of all tokens, and to draw one
	Memory int64         // bytes that it lends
	Speed  int           // beside the others', for Model.Shares

	team *team // nil: it is one node
}

// Model is what its layers need, in bytes. A layer's are those of its weights and of
// the keys and values that it is to keep.
type Model struct {
	Layers                   int
	Layer, Embedding, Output int64
	Row                      int64 // of a position, between stages
	// Cuts are the only layers before which a stage may begin, in ascending order; none:
	// it may begin anywhere.
	Cuts []int
	// Shares says what part of a layer each member of a team computes and holds, by their
	// speeds, or why they cannot divide it; nil: nobody can.
	Shares func(speeds []int) ([]float64, error)
	Parts  int64 // bytes of a position that a team brings together in a layer, all members'
}

// Link is what the line between two nodes is like.
type Link struct {
	RTT       time.Duration
	Bandwidth int64 // bits a second; 0: no limit
	Measured  bool  // it is no guess
}

// Request asks for a plan.
type Request struct {
	Model     Model
	Nodes     []Node
	Link      func(a, b int) Link // between two of Nodes
	Sequences int                 // that are under way at a time; at least 1
	Stages    int                 // how many there are to be; 0: as many as are best
}

// Stage is one node's part.
type Stage struct {
	Node        int // in Request.Nodes
	First, Last int // layers First ≤ i < Last
	Time        time.Duration
	Team        []int // all who compute the stage together, Node first; nil: Node alone
}

// Plan is who does what. The first stage is the head.
type Plan struct {
	Stages []Stage
	Token  time.Duration // for one token, through all stages and back
	Rate   float64       // tokens a second, all sequences together
	// Spares can take any stage's place, the fastest first.
	Spares []int
	// Left are the nodes that have no stage, with the reason.
	Left []Left
}

// Left says why a node has no stage.
type Left struct {
	Node int
	Why  string
}

const (
	// most is how many nodes are tried together, the fastest.
	most = 8
	// fine is how much of a stage's time its bound is searched to.
	fine = 256
	// enough is how much faster a plan has to be to be worth another node, or a longer
	// way of a token.
	enough = 1.02
)

// Standing is what a plan's stages give now, whatever was measured when it was made.
func Standing(r *Request, stages []Stage) (token time.Duration, rate float64) {
	var slowest time.Duration
	for i, s := range stages {
		n, _ := r.unit(s.members())
		took := time.Duration(s.Last-s.First) * n.Layer
		if i == len(stages)-1 {
			took += n.Output
		}
		token, slowest = token+took, max(slowest, took)
		if len(stages) > 1 {
			token += r.Link(s.Node, stages[(i+1)%len(stages)].Node).time(r.Model.Row)
		}
	}
	return token, r.rate(token, slowest)
}

// rate is how many tokens a second come of stages.
func (r *Request) rate(token, slowest time.Duration) float64 {
	return min(float64(r.Sequences)/max(token, 1).Seconds(), 1/max(slowest, 1).Seconds())
}

// handing is what it takes to hand a row on besides the way: to wake who sends it and who
// computes on, and to encrypt it. It was measured with stages that compute for
// milliseconds, after which nothing is in a cache any more.
const handing = 200 * time.Microsecond

// time is how long so many bytes are on their way, from stage to stage.
func (l Link) time(bytes int64) time.Duration {
	t := handing + l.RTT/2
	if l.Bandwidth > 0 {
		t += time.Duration(float64(bytes*8) / float64(l.Bandwidth) * float64(time.Second))
	}
	return t
}

// Make returns the best plan. Its error, a core.Error, says what is missing.
func Make(r *Request) (*Plan, error) {
	if r.Model.Layers < 1 || r.Sequences < 1 || len(r.Nodes) == 0 || r.Stages < 0 || r.Stages > r.Model.Layers {
		return nil, core.Errorf(core.Invalid, "a plan of %d stages for %d layers over %d nodes", r.Stages, r.Model.Layers, len(r.Nodes))
	}
	p, err := r.alone()
	if err != nil {
		return nil, err
	}
	return r.teamed(p), nil
}

// alone is the best plan in which each stage is one node.
func (r *Request) alone() (*Plan, error) {
	s := newSearch(r)
	s.walk()
	s.all()
	s.sift()
	best := s.choose()
	if best == nil {
		return nil, s.why()
	}
	p := s.plan(best)
	s.rest(p)
	return p, nil
}
