package secagg

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"testing"

	"filippo.io/edwards25519"
	"pgregory.net/rapid"

	"atoll/internal/core"
)

// far is how many standard deviations a statistic may be off: 6 are one in 10^9, and the
// seeds are fixed.
const far = 6

// uniform fails where words are not spread evenly over buckets (chi-square).
func uniform(t *testing.T, what string, buckets []int) {
	t.Helper()
	total := 0
	for _, n := range buckets {
		total += n
	}
	each, chi := float64(total)/float64(len(buckets)), 0.0
	for _, n := range buckets {
		chi += (float64(n) - each) * (float64(n) - each) / each
	}
	free := float64(len(buckets) - 1)
	if z := (chi - free) / math.Sqrt(2*free); math.Abs(z) > far {
		t.Errorf("%s: chi-square of %.0f over %d buckets, %.1f deviations off", what, chi, len(buckets), z)
	}
}

// Any t shares give the secret back.
func TestSharesJoin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		root := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "root")
		k := rapid.IntRange(2, 20).Draw(rt, "shares")
		s := element(root, core.Digest{}, "secret")
		p, err := newSplit(s, k, root, core.Digest{}, "test")
		if err != nil {
			rt.Fatal(err)
		}
		who := rapid.SliceOfNDistinct(rapid.IntRange(0, MaxMembers-1), k, k, rapid.ID).Draw(rt, "who")
		var shares []secret
		for _, m := range who {
			shares = append(shares, p.at(m))
		}
		if got, err := join(weights(who), shares); err != nil || got != s {
			rt.Errorf("got %x, %v; want %x", got, err, s)
		}
		if got, err := join(weights(who[1:]), shares[1:]); err == nil && got == s {
			rt.Error("a share less gives the secret, too")
		}
	})
}

// t−1 shares of 0 look like those of 1: for each secret they are spread evenly, and so is
// the sum that a join with too few would make of them.
func TestFewerSharesTellNothing(t *testing.T) {
	t.Parallel()
	const k, rounds = 3, 20_000
	for value := range byte(2) {
		one, two, joined := make([]int, 256), make([]int, 256), make([]int, 256)
		for i := range rounds {
			root := binary.LittleEndian.AppendUint64(make([]byte, 24), uint64(i))
			p, err := newSplit(secret{value}, k, root, core.Digest{value}, "test")
			if err != nil {
				t.Fatal(err)
			}
			a, b := p.at(0), p.at(1)
			x, err := join(weights([]int{0, 1}), []secret{a, b})
			if err != nil {
				t.Fatal(err)
			}
			one[a[0]]++
			two[b[0]]++
			joined[x[0]]++
		}
		uniform(t, "the first share", one)
		uniform(t, "the second share", two)
		uniform(t, "what comes of both", joined)
	}
}

// A share that is no element of the field is refused.
func TestShareOutsideField(t *testing.T) {
	t.Parallel()
	_, err := join([]*edwards25519.Scalar{point(0)}, []secret{secret(bytes.Repeat([]byte{0xff}, 32))})
	refused(t, err, core.Invalid, "no element of the field")
}

// FuzzServer has a hub take whatever JSON a member sends, at each step.
func FuzzServer(f *testing.F) {
	f.Add(uint8(0), []byte(`{"from":1,"box":"AA==","mask":"AA==","sig":"AA=="}`))
	f.Add(uint8(1), []byte(`{"from":9007199254740993,"part":[1,2]}`))
	f.Add(uint8(2), []byte(`[{"from":0,"to":1,"box":null}]`))
	f.Add(uint8(3), []byte(`{"from":-1,"without":[-1,99999999]}`))
	f.Add(uint8(4), []byte(`{"from":2,"sig":null}`))
	f.Add(uint8(5), []byte(`{"from":2,"own":{"-5":"sha256:00"},"masks":null}`))
	f.Add(uint8(5), []byte(`null`))
	c := newCast(f, 61, 7, 4, 3, 10, 8)
	c.play(map[int]Step{6: Masking}, nil)
	f.Fuzz(func(_ *testing.T, step uint8, data []byte) {
		s := *c.server // which has all that it needs of every step
		s.step = Step(step) % Closed
		s.opened, s.given = map[int]*Opening{}, map[int]given{}
		var k Keys
		var p Part
		var sealed []Sealed
		var in Included
		var a Agreement
		var o *Opening
		// What is no such message is refused before it comes to a Server.
		if json.Unmarshal(data, &k) == nil {
			_ = s.Advertise(k)
		}
		if json.Unmarshal(data, &p) == nil {
			_ = s.Reveal(p)
		}
		if json.Unmarshal(data, &sealed) == nil {
			for i := -1; i <= 7; i++ {
				_ = s.Share(i, sealed)
			}
		}
		if json.Unmarshal(data, &in) == nil {
			_ = s.Mask(data, in)
		}
		if json.Unmarshal(data, &a) == nil {
			_ = s.Agree(a)
		}
		if json.Unmarshal(data, &o) == nil {
			_ = s.Open(o)
			_, _ = s.Sum()
			if s.Step() == Closed {
				panic("a sum without shares")
			}
		}
	})
}
