package repro

import "math/bits"

// Random is a counter-based generator: its n-th value is a function of (seed, n)
// alone, the splitmix64 finaliser of seed + n·φ (Steele, Lea, Flood, "Fast
// splittable pseudorandom number generators", 2014). It is fixed here, and not
// taken from math/rand, because trained models and generated data depend on
// every one of its bits. It is not for secrets.
type Random struct{ state uint64 }

// NewRandom returns the generator of seed at its start.
func NewRandom(seed uint64) *Random { return &Random{state: seed} }

// Uint64 returns the next value.
func (r *Random) Uint64() uint64 {
	r.state += 0x9e3779b97f4a7c15
	return Mix(r.state)
}

// Below returns a value in [0, n) for n > 0. Its bias is under n/2^64.
func (r *Random) Below(n int) int {
	hi, _ := bits.Mul64(r.Uint64(), uint64(n))
	return int(hi)
}

// Shuffle puts x into random order (Fisher and Yates).
func Shuffle[T any](r *Random, x []T) {
	for i := len(x) - 1; i > 0; i-- {
		j := r.Below(i + 1)
		x[i], x[j] = x[j], x[i]
	}
}

// Mix is the splitmix64 finaliser: a bijection in which every input bit moves
// every output bit.
func Mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
