package market

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// exploreShare is the chance that a slot goes to a random newcomer, so that
// newcomers can earn a record. newcomerSeen is the observations that end it.
// A newcomer that would answer later than the best by more than exploreWait, since
// it has the model to fetch first, is not tried: the requester would feel it.
const (
	exploreShare = 0.05
	newcomerSeen = 10
	exploreWait  = time.Second
)

// pick returns the best of the ranked offers, or now and then a newcomer.
func (r *Request) pick(ranked []*Offer, rng *rand.Rand) int {
	if len(ranked) == 0 {
		return -1
	}
	if len(ranked) > 1 && rng.Float64() < exploreShare {
		i := rng.IntN(len(ranked))
		if o := ranked[i]; o.Seen < newcomerSeen && r.Start(o)-r.Start(ranked[0]) <= exploreWait {
			return i
		}
	}
	return 0
}

// rank sorts by the expected price of a verified result: the posted price, over
// the reliability that can be counted on, times how full the node is and how long
// it will take. Nodes tried before for this part come last.
func (r *Request) rank(fit []*Offer, used []Used, rng *rand.Rand) []*Offer {
	// Equal offers are served in a random order, so that none is favoured by its name.
	rng.Shuffle(len(fit), func(i, j int) { fit[i], fit[j] = fit[j], fit[i] })
	type scored struct {
		offer *Offer
		score float64
	}
	all := make([]scored, len(fit))
	usual := usualLatency(fit)
	for i, o := range fit {
		all[i] = scored{o, r.score(o, usual, used)}
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(a.score, b.score) })
	for i := range all {
		fit[i] = all[i].offer
	}
	return fit
}

// After provenBad observations, a node of a mean reliability under poorMean comes
// behind all others, lest one that gives its failures away get every lease.
const (
	provenBad = 10
	poorMean  = 0.25
)

// worthPrice is how much waiting weighs as much as the price itself.
const worthPrice = 10 * time.Second

// usualLatency is the mean of those known, in ms; 0 if none is.
func usualLatency(offers []*Offer) float64 {
	sum, n := 0.0, 0.0
	for _, o := range offers {
		if o.P50Ms > 0 {
			sum, n = sum+o.P50Ms, n+1
		}
	}
	return sum / max(n, 1)
}

// score is the expected price. A node whose latency nobody has seen is taken to be
// like the others: else who has the model loaded, and so has been asked, would come
// behind those who have yet to load it.
func (r *Request) score(o *Offer, usualMs float64, used []Used) float64 {
	latency := o.P50Ms
	if latency == 0 {
		latency = usualMs
	}
	s := (float64(o.Price) + 1) / max(o.P5, 0.001)
	if o.Seen >= provenBad && o.Mean < poorMean {
		s *= 1e6 // whatever it costs, it hardly ever gives a result: better anybody else
	}
	s *= 1 + float64(o.InFlight)/float64(max(o.Slots, 1))
	s *= 1 + latency/float64(worthPrice.Milliseconds())
	s *= 1 + r.Start(o).Seconds()/worthPrice.Seconds()
	for i := range used {
		if used[i].Node == o.Node {
			s *= 1e6
		}
	}
	return s
}

// Bounds on what a start is taken to cost.
const (
	// smallModel is loaded before anybody notices.
	smallModel = 1 << 20
	// usualRate is taken for nodes of which nothing else is known: a gigabit line.
	usualRate = 100 << 20
	// slowestRate and fastestRate bound what is believed of a node's own word.
	slowestRate = 1 << 20
	fastestRate = 4 << 30
)

// Start is how long the node is expected to take before it can begin: nothing if it
// has the model in memory, else the time to fetch and load it.
func (r *Request) Start(o *Offer) time.Duration {
	if r.ModelSize < smallModel || slices.Contains(o.Loaded, r.Model) {
		return 0
	}
	rate := int64(usualRate)
	if o.LoadRate > 0 {
		rate = min(max(o.LoadRate, slowestRate), fastestRate)
	}
	return time.Duration(float64(r.ModelSize) / float64(rate) * float64(time.Second))
}
