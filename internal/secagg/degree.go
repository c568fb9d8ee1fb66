package secagg

import (
	"math"

	"atoll/internal/core"
)

// Complete is the most members among whom everybody is everybody's neighbour.
const Complete = 50

// attempts bounds how often a client lets the hub begin the same round anew after parts
// of the lot were shown, and so how many orders the hub can choose from.
const attempts = 16

// The chances that a graph is not as it must be. The first is for the hub to learn
// more than the sum, over all attempts; the second for a sum that cannot be opened.
const (
	insecure = 40 // 2^-40
	failing  = 20 // 2^-20
)

// Plan returns the threshold for n members, how many neighbours each must have, and how
// many shares give a secret back, if up to that share of members drop out and up to that
// share are the hub's. Members are neighbours along a ring in random order, k/2 on either
// side. For a given k and t, by union bounds:
//
//	the hub has t shares of a member by itself     n · P[H(T−1, corrupt, k) ≥ t]
//	survivors fall into two parts on the ring      n · (corrupt + dropped)^(k/2)
//	too few neighbours of a member survive         n · P[H(n−1, surviving, k) < t]
//
// H is hypergeometric: the neighbours are a random set. In the first line it is of T, the
// threshold, and not of n: a hub can say of all other honest members that they have not
// come. The first two, together and times the attempts, must be under 2^-40, the third
// under 2^-20; k is the least for which some t does it. (A part is cut off only by k/2
// members in a row who are gone, and at both ends; one end is counted. A hub that drops
// members on purpose is not bounded by this: see docs/secagg.md.)
func Plan(n int, dropout, corrupt float64) (threshold, degree, shares int, err error) {
	threshold = 2*n/3 + 1
	if n < MinMembers || n > MaxMembers {
		return 0, 0, 0, core.Errorf(core.Invalid, "secure aggregation among %d members: want %d to %d", n, MinMembers, MaxMembers)
	}
	if dropout < 0 || corrupt < 0 || dropout > 1.0/3 || corrupt > 1.0/3 {
		return 0, 0, 0, core.Errorf(core.Invalid, "secure aggregation where %.2f drop out and %.2f are corrupt: want up to a third of each", dropout, corrupt)
	}
	if n <= Complete {
		return threshold, 0, threshold - 1, nil
	}
	bad, gone := int(math.Ceil(corrupt*float64(n))), int(math.Ceil(dropout*float64(n)))
	for k := 2; k < n-1; k += 2 {
		if t := sharesFor(n, k, bad, gone); t > 0 {
			return threshold, k, t, nil
		}
	}
	return threshold, 0, threshold - 1, nil
}

// sharesFor returns a number of shares with which a degree does what it must; 0: none.
func sharesFor(n, k, bad, gone int) int {
	limit := math.Exp2(-insecure) / attempts
	cut := float64(n) * math.Pow(float64(bad+gone)/float64(n), float64(k)/2)
	if cut > limit/2 || k > 2*n/3 {
		return 0
	}
	present := 2*n/3 + 1                    // the hub can keep honest members out before the lot
	tooMany := upperTail(present-1, bad, k) // of corrupt neighbours, from each number on
	tooFew := upperTail(n-1, gone, k)       // of neighbours who are gone
	for t := 2; t <= k; t++ {
		if float64(n)*tooMany[t] > limit/2 {
			continue
		}
		if float64(n)*tooFew[k-t+1] <= math.Exp2(-failing) { // so many gone leave less than t
			return t
		}
		return 0 // more shares are harder to come by
	}
	return 0
}

// upperTail returns P[X ≥ i] for i from 0 to k+1, of a hypergeometric X: k drawn of n, of
// which m are marked.
func upperTail(n, m, k int) []float64 {
	out := make([]float64, k+2)
	for i := k; i >= 0; i-- {
		p := 0.0
		if i <= m && k-i <= n-m {
			p = math.Exp(logChoose(m, i) + logChoose(n-m, k-i) - logChoose(n, k))
		}
		out[i] = out[i+1] + p
	}
	return out
}

func logChoose(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}
