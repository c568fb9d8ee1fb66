package text

import (
	"math"
	"strconv"
)

// PPM is a probability or share in parts per million.
type PPM int

// Micro is a number in millionths.
type Micro int64

// ppm converts a probability. The product of two binary64 numbers is rounded
// alike everywhere, and so is the step to an integer.
func ppm(p float32) PPM { return PPM(math.RoundToEven(float64(p) * 1e6)) }

func micro(v float32) Micro { return Micro(math.RoundToEven(float64(v) * 1e6)) }

// String returns p as a decimal with four places, as "0.9312".
func (p PPM) String() string { return decimal(int64(p), 100, 4) }

// String returns m as a decimal with three places, as "1.204".
func (m Micro) String() string { return decimal(int64(m), 1000, 3) }

// decimal rounds millionths to units of unit millionths, halves away from zero,
// and writes them with the given number of places.
func decimal(millionths, unit int64, places int) string {
	b := make([]byte, 0, 24)
	if millionths < 0 {
		millionths = -millionths
		if millionths*2 >= unit { // no sign before what rounds to 0
			b = append(b, '-')
		}
	}
	n := (millionths + unit/2) / unit
	one := 1_000_000 / unit
	b = append(strconv.AppendInt(b, n/one, 10), '.')
	frac := n % one
	for range places {
		one /= 10
		b = append(b, byte('0'+frac/one))
		frac %= one
	}
	return string(b)
}
