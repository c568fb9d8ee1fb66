package draw

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"testing"

	"atoll/internal/core"
)

// What a stranger computes with sha256sum is what the hub draws.
func TestByHand(t *testing.T) {
	t.Parallel()
	receipt := core.DigestOf([]byte("a receipt"))
	sum := sha256.Sum256([]byte("atoll draw v1\n0a1b\nmy-nonce\nsha256:" + receipt.Hex()))
	if got := Cast("0a1b", "my-nonce", receipt); got != Lot(sum) {
		t.Errorf("got %x, want %x", got, sum)
	}
	if Commit("0a1b") != core.Digest(sha256.Sum256([]byte("0a1b"))) {
		t.Error("the commitment is not SHA-256 of the secret's text")
	}
}

func TestEdges(t *testing.T) {
	t.Parallel()
	first, last := Lot{}, Lot{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if first.Under(0) || !first.Under(1) || last.Under(Always-1) || !last.Under(Always) {
		t.Error("a rate of 0 draws something, or a rate of 1 leaves something out")
	}
}

// As many are drawn as the rate says, whichever of the three inputs differs.
func TestRate(t *testing.T) {
	t.Parallel()
	const n = 20_000
	for _, rate := range []int64{1_000, 100_000, 500_000} {
		for name, lot := range map[string]func(i int) Lot{
			"secret":  func(i int) Lot { return Cast(fmt.Sprint(i), "n", core.Digest{1}) },
			"nonce":   func(i int) Lot { return Cast("s", fmt.Sprint(i), core.Digest{1}) },
			"receipt": func(i int) Lot { return Cast("s", "n", core.DigestOf([]byte(strings.Repeat("x", i%97)+fmt.Sprint(i)))) },
		} {
			drawn := 0
			for i := range n {
				if lot(i).Under(rate) {
					drawn++
				}
			}
			p := float64(rate) / Always
			if sigmas := math.Abs(float64(drawn)-n*p) / math.Sqrt(n*p*(1-p)); sigmas > 4 {
				t.Errorf("%s, rate %v: %d of %d drawn, %.1f standard deviations off", name, p, drawn, n, sigmas)
			}
		}
	}
}
