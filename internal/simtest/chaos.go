package simtest

import (
	"time"
)

// plan is how rough one run will be: drawn once, so that some runs are nearly
// calm and others have everything at once.
type plan struct {
	chaos     time.Duration
	nodes     int
	owners    int
	liars     int  // owners that lie, at most a third
	conspire  bool // all of them tell the same lie
	tasks     int
	crash     float64 // chance of a hub crash at each of a commit's two points
	nodeCrash float64 // chance of a node crash at each of its steps
	calls     link    // between clients and the hub
	links     link    // between nodes and the hub
	cuts      int
	jumps     int    // of clocks
	orders    int    // of the operator: drain, revoke, join again
	line      string // the pipeline of a service that several nodes hold; empty: none
}

// patience is how long a healed network may take until all is quiet: longer
// than any timeout of a task plus any jump of a clock.
const patience = 10 * time.Minute

// maxJump bounds how far a clock jumps at once.
const maxJump = 20 * time.Second

func (w *World) makePlan() plan {
	pick := func(p float64, v float64) float64 { // v, or nothing
		if w.chance(p) {
			return v * w.rng.Float64()
		}
		return 0
	}
	count := func(p float64, most int) int {
		if w.chance(p) {
			return 1 + w.rng.IntN(most)
		}
		return 0
	}
	path := func() link {
		return link{
			loss: pick(0.7, 0.3), double: pick(0.7, 0.3), late: pick(0.6, 0.2),
			lateBy: w.between(time.Second, 8*time.Second), delay: w.between(time.Millisecond, 60*time.Millisecond),
		}
	}
	p := plan{
		chaos: w.between(8*time.Second, 25*time.Second), owners: 3 + w.rng.IntN(5), tasks: 4 + w.rng.IntN(9),
		crash: pick(0.75, 0.06), nodeCrash: pick(0.7, 0.03), calls: path(), links: path(),
		cuts: count(0.6, 4), jumps: count(0.4, 3), orders: count(0.4, 3), conspire: w.chance(0.5),
	}
	p.nodes = p.owners + w.rng.IntN(4)
	if w.chance(0.7) {
		p.liars = w.rng.IntN(p.owners/3 + 1)
	}
	if w.chance(0.4) {
		p.line = []string{"2", "3", "3", "auto"}[w.rng.IntN(4)]
	}
	return p
}

// startChaos schedules what goes wrong. Losses and crashes are drawn where they
// happen.
func (w *World) startChaos() {
	p := &w.plan
	w.say("plan: %d nodes of %d owners, %d lie (together: %t), %d tasks, a line of %q, hub crash %.3f, node crash %.3f, loss %.2f", p.nodes, p.owners, p.liars, p.conspire, p.tasks, p.line, p.crash, p.nodeCrash, p.links.loss)
	some := func(n int, fn func()) {
		for range n {
			w.after(w.between(0, p.chaos), fn)
		}
	}
	some(p.cuts, w.partition)
	some(p.jumps, w.jump)
	some(p.orders, w.order)
	some(p.nodes/3, func() { // slow for a while
		n := w.nodes[w.rng.IntN(len(w.nodes))]
		n.slow = w.between(0, 6*time.Second)
	})
}

// partition cuts some nodes, or some clients, off for a while.
func (w *World) partition() {
	var links []*link
	for _, n := range w.nodes {
		if w.chance(0.4) {
			links = append(links, &n.link)
		}
	}
	for _, c := range w.clients {
		if w.chance(0.2) {
			links = append(links, &c.link)
		}
	}
	d := w.between(100*time.Millisecond, 7*time.Second)
	for _, l := range links {
		w.say("chaos: %s is cut off for %s", l.name, d)
		l.cut++
	}
	w.after(d, func() {
		for _, l := range links {
			l.cut--
		}
	})
}

// jump sets the hub's or a node's clock forward or back.
func (w *World) jump() {
	by := w.between(-maxJump, maxJump)
	if w.chance(0.5) {
		w.say("chaos: the hub's clock jumps by %s", by)
		w.hub.skew += by
		return
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	w.say("chaos: the clock of %s jumps by %s", n.id, by)
	n.skew += by
}

// order is an operator's doing.
func (w *World) order() {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	switch w.rng.IntN(4) {
	case 0:
		w.hub.drain(n, true)
		w.after(w.between(time.Second, 8*time.Second), func() { w.hub.drain(n, false) })
	case 1:
		if w.revocable() {
			w.hub.revoke(n)
		}
	default:
		w.hub.rejoin(n)
	}
}

// revocable reports whether three owners would be left without one node more.
func (w *World) revocable() bool {
	left := 0
	for _, n := range w.nodes {
		if !n.revoked {
			left++
		}
	}
	return left > w.plan.owners && left > 4
}

// heal ends all that is wrong, and starts what is down.
func (w *World) heal() {
	w.say("healed")
	w.healed = true
	for _, n := range w.nodes {
		n.slow = 0
		n.start()
	}
	w.hub.start()
	w.probe()
}
