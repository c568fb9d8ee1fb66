package codec

import (
	"bytes"
	"math"
	"testing"

	"atoll/internal/keystream"
)

// A vector as long as the clip, with every value half-way between two integers, is the
// worst case: some roundings are too long, none of these is sent, and a fit is found soon.
func TestRoundingIsConditional(t *testing.T) {
	t.Parallel()
	secret, err := keystream.Secret(bytes.NewReader(make([]byte, keystream.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	again, rounds := 0, 0
	for _, dim := range []int{1, 2, 16, 256, 4096} {
		g, err := NewGrid(Shape{Dim: dim, Clip: 1, Bits: 8})
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, dim)
		c := g.clip * g.scale
		for i := range x { // what is left of the norm, shared by the values that are left
			v := math.Floor(c/math.Sqrt(float64(dim-i))+0.5) - 0.5
			x[i] = float32(v / g.scale)
			c = math.Sqrt(c*c - v*v)
		}
		for range 300 {
			var r Report
			words, err := g.round(x, secret, &r)
			if err != nil {
				t.Fatal(err)
			}
			square := 0.0
			for _, w := range words {
				square += float64(int32(w)) * float64(int32(w))
			}
			if square > g.l2*g.l2 {
				t.Fatalf("dim %d: norm %g, bound %g", dim, math.Sqrt(square), g.l2)
			}
			rounds++
			again += r.Rounds - 1
		}
	}
	t.Logf("%d of %d roundings were too long", again, rounds+again)
	if again == 0 || again > rounds*2 {
		t.Errorf("%d of %d roundings were too long: some should be, and less than 0.61", again, rounds+again)
	}
}

// A vector that no rounding can shorten is refused, and not sent.
func TestRoundingGivesUp(t *testing.T) {
	t.Parallel()
	g, err := NewGrid(Shape{Dim: 100, Clip: 1, Bits: 8})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 100)
	for i := range x {
		x[i] = float32(g.limit) // ten times the clip
	}
	secret, err := keystream.Secret(bytes.NewReader(make([]byte, keystream.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.round(x, secret, &Report{}); err == nil {
		t.Error("a vector beyond the norm was rounded and sent")
	}
}

// Values are rounded to a neighbour, up with the probability of their fraction.
func TestRoundingIsStochastic(t *testing.T) {
	t.Parallel()
	g, err := NewGrid(Shape{Dim: 64, Clip: 1, Bits: 12})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := keystream.Secret(bytes.NewReader(make([]byte, keystream.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	x, up := make([]float32, 64), make([]int, 64)
	for i := range x {
		x[i] = float32((float64(i-32) + float64(i)/64) / g.scale)
	}
	const rounds = 10_000
	for range rounds {
		words, err := g.round(x, secret, &Report{})
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range words {
			switch int32(w) - int32(i-32) {
			case 0:
			case 1:
				up[i]++
			default:
				t.Fatalf("%g became %d", float64(x[i])*g.scale, int32(w))
			}
		}
	}
	for i, n := range up {
		p := float64(i) / 64
		if z := math.Abs(float64(n)-rounds*p) / math.Sqrt(rounds*max(p*(1-p), 0.001)); z > 4.5 {
			t.Errorf("fraction %g: up %d times of %d", p, n, rounds)
		}
	}
}

// What sticks out is cut to the level, on both sides, and counted.
func TestClamp(t *testing.T) {
	t.Parallel()
	g, err := NewGrid(Shape{Dim: 4096, Clip: 1, Bits: 8})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := keystream.Secret(bytes.NewReader(make([]byte, keystream.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 4096)
	x[5], x[9], x[11] = float32(2*g.limit), float32(-3*g.limit), float32(g.limit/2)
	var r Report
	words, err := g.round(x, secret, &r)
	if err != nil {
		t.Fatal(err)
	}
	if int32(words[5]) != 127 || int32(words[9]) != -127 || r.Clamped != 2 {
		t.Errorf("%d and %d, %d clamped", int32(words[5]), int32(words[9]), r.Clamped)
	}
}

// If the coordinates that are chosen hold more than their share, they are scaled down
// to it: here all of the update lies in them.
func TestChosenAreShortened(t *testing.T) {
	t.Parallel()
	g, err := NewGrid(Shape{Dim: 10_000, Clip: 1, Bits: 8, Keep: 400})
	if err != nil {
		t.Fatal(err)
	}
	seed := keystream.Seed{3}
	x := make([]float32, 10_000)
	for _, at := range g.chosen(seed) {
		x[at] = 0.049
	}
	g.rotation(seed).invert(x)
	secret, err := keystream.Secret(bytes.NewReader(make([]byte, keystream.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	words, r, err := g.Encode(x, seed, secret)
	if err != nil || !r.Rescaled || r.Clipped {
		t.Fatal(r, err)
	}
	square := 0.0
	for _, w := range words {
		square += float64(int32(w)) * float64(int32(w))
	}
	if norm := math.Sqrt(square); norm > g.l2 || norm < g.l2*0.9 {
		t.Errorf("norm %g of at most %g", norm, g.l2)
	}
}
