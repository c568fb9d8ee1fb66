package secagg

import (
	"math"
	"slices"

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
// many shares t give a secret back, if up to that share of members drop out and up to that
// share are the hub's. Members are neighbours along a ring in random order, k/2 on either
// side. The hub sees the ring, and then chooses who is kept out, but for a threshold of
// members; so the corrupt ones are counted among so few:
//
//	n · P[H(threshold−1, corrupt, k) > a]    ≤ 2^-41 / 16
//	n · P[H(threshold−1, corrupt, k/2) > b]  ≤ 2^-41 / 16
//	2·t > k + a + b
//	n · P[H(n−1, dropped, k) > k−t]          ≤ 2^-20
//
// H is hypergeometric: neighbours are a random set; 16 are the attempts. k is the least for
// which there is such a t; none: all are neighbours. With the third line the hub cannot
// learn two sums in one round, or that of a part of the ring. For say that it learns those
// of two sets. A member of the first has at least t neighbours who give away its secret:
// members of the same set, or corrupt. So has the next one along the ring who is of the
// second. But for their distance both have the same neighbours, who cannot be in both sets:
// so 2·t is at most k, and what corrupt ones count twice, among those of one (a) and between
// the two (b). docs/secagg.md has the whole of it.
func Plan(n int, dropout, corrupt float64) (threshold, degree, shares int, err error) {
	threshold = 2*n/3 + 1
	if n < MinMembers || n > MaxMembers {
		return 0, 0, 0, core.Errorf(core.Invalid, "secure aggregation among %d members: want %d to %d", n, MinMembers, MaxMembers)
	}
	if !(dropout >= 0 && dropout <= 1.0/3 && corrupt >= 0 && corrupt <= 1.0/3) { // nor NaN
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
	least := 2*n/3 + 1
	if k >= least {
		return 0
	}
	t := (k+most(n, least, bad, k)+most(n, least, bad, k/2))/2 + 1
	if t > k || float64(n)*upperTail(n-1, gone, k)[k-t+1] > math.Exp2(-failing) {
		return 0
	}
	return t
}

// most is how many of k random members are corrupt at most, for each of n, among so few
// who take part.
func most(n, present, bad, k int) int {
	limit := math.Exp2(-insecure-1) / attempts / float64(n)
	return slices.IndexFunc(upperTail(present-1, bad, k), func(p float64) bool { return p <= limit }) - 1
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
