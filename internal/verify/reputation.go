package verify

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Reputation is the record of one node as Beta(Good+1, Bad+1), after Jøsang and
// Ismail's beta reputation system (2002). Both counts fade with each
// observation, so that the last few hundred leases decide.
type Reputation struct {
	Good float64 `json:"good"`
	Bad  float64 `json:"bad"`
}

// Weights of what a lease can show about its node.
const (
	// fade forgets: after 1/(1−fade) = 500 observations a record is mostly new.
	fade = 0.998
	// WeightLost is for a node that took a lease and vanished: a fault, but not
	// the lie that a wrong result is.
	WeightLost = 0.5
)

// Pass returns the record after a verified result.
func (r Reputation) Pass() Reputation { return Reputation{r.Good*fade + 1, r.Bad * fade} }

// Fault returns the record after a fault of the given weight.
func (r Reputation) Fault(weight float64) Reputation {
	return Reputation{r.Good * fade, r.Bad*fade + weight}
}

// Mean is the expected share of good leases; one half for a newcomer.
func (r Reputation) Mean() float64 { return (r.Good + 1) / (r.Good + r.Bad + 2) }

// P5 is the 5th percentile: what can be relied upon so far. It ranks nodes, so
// that a newcomer, or a cheat under a new name, stands behind the proven.
func (r Reputation) P5() float64 {
	return distuv.Beta{Alpha: r.Good + 1, Beta: r.Bad + 1}.Quantile(0.05)
}

// Observations is the weight of what is remembered.
func (r Reputation) Observations() float64 { return math.Max(r.Good+r.Bad, 0) }
