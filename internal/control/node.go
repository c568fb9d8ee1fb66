package control

import (
	"slices"
	"sort"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/market"
	"atoll/internal/receipt"
	"atoll/internal/verify"
)

// node is a joined node: what is stored of it, and what it last said.
type node struct {
	doc      nodeDoc
	signer   receipt.Key // what its receipts are verified with
	offer    *market.Offer
	said     bus.NodeOffer
	bootID   string
	bootMs   int64 // when bootID was first heard of
	seenMs   int64
	draining bool  // says the node
	probedMs int64 // when it was last asked to measure the ways to others
	leases   map[core.LeaseID]*leaseRef
	latency  latencies
	hearing  *hearing
	dirty    bool
}

// nodeDoc is what is stored of a node.
type nodeDoc struct {
	ID         core.NodeID       `json:"id"`
	Owner      core.AccountID    `json:"owner"`
	PublicKey  string            `json:"public_key"`
	Nkey       string            `json:"nkey"`
	OldNkeys   []oldNkey         `json:"old_nkeys,omitempty"` // shut out
	Country    string            `json:"country"`
	JoinedMs   int64             `json:"joined"`
	Drained    bool              `json:"drained,omitempty"` // by the operator
	Revoked    bool              `json:"revoked,omitempty"`
	RevokedMs  int64             `json:"revoked_at,omitzero"`
	KeyID      string            `json:"key_id"`
	Reputation verify.Reputation `json:"reputation"`
	Passed     int64             `json:"passed"`
	Rejected   int64             `json:"rejected"`
	Lost       int64             `json:"lost"`
	WrongMs    int64             `json:"wrong_at,omitzero"` // when its work was last proven wrong
	Earned     core.Money        `json:"earned"`
}

// oldNkey is a bus key that a node had before it joined again.
type oldNkey struct {
	Nkey string `json:"nkey"`
	Ms   int64  `json:"until"`
}

// latencies keeps the last dispatch-to-report times of a node, in ms.
type latencies struct {
	ring [256]float32
	n    int
}

func (l *latencies) add(ms int64) {
	l.ring[l.n%len(l.ring)] = float32(ms)
	l.n++
}

// quantile is exact over the ring; 0 while nothing is known.
func (l *latencies) quantile(q float64) float64 {
	n := min(l.n, len(l.ring))
	if n == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(l.ring[:n]))
	return float64(s[min(int(q*float64(n)), n-1)])
}

// refresh copies what a node says into its offer.
func (n *node) refresh(up bool, now int64) {
	o, s := n.offer, &n.said
	o.Up = up && !n.doc.Revoked
	o.Draining = n.draining || n.doc.Drained
	o.Price, o.Country, o.Region, o.Labels, o.Engines, o.Upstreams, o.Arch = s.Price, s.Country, s.Region, s.Labels, s.Engines, s.Upstreams, s.Arch
	o.Loaded, o.LoadRate = s.Loaded, s.LoadRate
	o.CPUMillis, o.Memory, o.Accounts, o.Slots, o.Queue = s.CPUMillis, s.Memory, s.Accounts, s.Slots, s.Queue
	o.GPUs = o.GPUs[:0]
	for _, g := range s.GPUs {
		o.GPUs = append(o.GPUs, market.GPU{Type: g.Type, Memory: g.Memory})
	}
	o.P50Ms = n.latency.quantile(0.5)
	n.rate(now)
}

// rate recomputes what the node's record says of it.
func (n *node) rate(now int64) {
	r := n.doc.Reputation
	n.offer.Mean, n.offer.P5, n.offer.Seen = r.Mean(), r.P5(), r.Observations()
	n.offer.Suspect = n.doc.WrongMs != 0 && now-n.doc.WrongMs < suspectMs
}

// suspectMs is how long a node whose result was found wrong gets no work of which not
// all is checked, and holds no layers.
const suspectMs = 60 * 60_000

// wrong notes that a result of the node was found wrong.
func (n *node) wrong(now int64) {
	n.doc.Reputation = n.doc.Reputation.Fault(1)
	n.doc.Rejected++
	n.doc.WrongMs = now
	n.rate(now) // what is placed next takes it into account
}

// addNode enters a node in the books. Its offer is up once it has spoken.
func (c *Control) addNode(d nodeDoc, signer receipt.Key, now int64) *node {
	n := &node{doc: d, signer: signer, leases: map[core.LeaseID]*leaseRef{}, hearing: newHearing(), offer: &market.Offer{Node: d.ID, Owner: d.Owner}}
	n.said.Country = d.Country
	n.refresh(false, now)
	if old := c.nodes[d.ID]; old != nil { // the same node has joined again
		n.leases, n.offer.InFlight = old.leases, old.offer.InFlight
		n.said, n.bootID, n.bootMs, n.seenMs, n.draining, n.latency, n.hearing = old.said, old.bootID, old.bootMs, old.seenMs, old.draining, old.latency, old.hearing
		n.refresh(old.offer.Up, now)
		for _, r := range n.leases {
			r.node = n
		}
		c.offers = slices.DeleteFunc(c.offers, func(o *market.Offer) bool { return o.Node == d.ID })
	}
	c.nodes[d.ID] = n
	i := sort.Search(len(c.offers), func(i int) bool { return c.offers[i].Node >= d.ID })
	c.offers = slices.Insert(c.offers, i, n.offer)
	return n
}
