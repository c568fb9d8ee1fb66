package privacy

import (
	"math"

	"atoll/internal/core"
)

// Orders are the Rényi orders at which privacy loss is kept. More of them would
// make ε smaller by about a percent at most.
var Orders = [...]float64{
	1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8,
	9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 24, 26, 28, 30, 32, 35, 38, 42, 46, 50, 56, 64,
	72, 80, 92, 104, 128, 160, 192, 256, 320, 384, 512, 768, 1024,
}

// Curve bounds a mechanism's Rényi divergence at each of Orders, in nats. Curves of
// what is done to the same data add up, order by order. The zero Curve is of doing
// nothing.
type Curve [len(Orders)]float64

// Plus is the curve of doing both.
func (c Curve) Plus(d Curve) Curve {
	for i := range c {
		c[i] += d[i]
	}
	return c
}

// Times is the curve of doing it n times.
func (c Curve) Times(n int) Curve {
	for i := range c {
		c[i] *= float64(n)
	}
	return c
}

// Epsilon returns the least ε with which the curve gives (ε, δ)-differential
// privacy, 0 < δ < 1, and the order that it comes from. It may be infinite.
func (c Curve) Epsilon(delta float64) (epsilon, order float64) {
	if c == (Curve{}) {
		return 0, Orders[0]
	}
	epsilon = math.Inf(1)
	for i, loss := range c {
		if e := epsilonAt(Orders[i], loss, delta); e < epsilon {
			epsilon, order = e, Orders[i]
		}
	}
	return epsilon, order
}

// Delta returns the least δ with which the curve gives (ε, δ)-differential privacy,
// ε ≥ 0, and the order that it comes from.
func (c Curve) Delta(epsilon float64) (delta, order float64) {
	if c == (Curve{}) {
		return 0, Orders[0]
	}
	delta, order = 1, Orders[0]
	for i, loss := range c {
		a := Orders[i]
		if d := math.Exp((a-1)*(loss-epsilon+math.Log1p(-1/a)) - math.Log(a)); d < delta {
			delta, order = d, a
		}
	}
	return delta, order
}

// epsilonAt converts a divergence at one order (Canonne, Kamath, Steinke 2020,
// Prop. 12; Balle et al. 2020, arXiv 2001.05990).
func epsilonAt(order, loss, delta float64) float64 {
	return max(0, loss+math.Log1p(-1/order)-(math.Log(delta)+math.Log(order))/(order-1))
}

// lossAt is the inverse: the divergence at an order that still gives ε at δ. It may
// be negative: then nothing does.
func lossAt(order, epsilon, delta float64) float64 {
	return epsilon - math.Log1p(-1/order) + (math.Log(delta)+math.Log(order))/(order-1)
}

func checkDelta(delta float64) error {
	if !(delta > 0 && delta < 1) {
		return core.Errorf(core.Invalid, "δ must be over 0 and under 1, not %g", delta).At("delta").
			WithHint("far less than one over the number of people is usual, such as 1e-6")
	}
	return nil
}

func checkEpsilon(epsilon float64) error {
	if !(epsilon > 0) || math.IsInf(epsilon, 1) {
		return core.Errorf(core.Invalid, "ε must be over 0 and finite, not %g", epsilon).At("epsilon").
			WithHint("1 is strong, 8 is weak; for no differential privacy at all leave it out")
	}
	return nil
}
