package keystream

import (
	"bytes"
	"encoding/hex"
	"math"
	"testing"
	"testing/iotest"
)

// NIST SP 800-38A has no vector from a counter of 0; this is AES-256 of the zero
// block under the zero key, as in FIPS 197's known answers (KAT, GFSbox).
func TestStandard(t *testing.T) {
	t.Parallel()
	s, err := Secret(bytes.NewReader(make([]byte, KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	var got [16]byte
	for i := range 2 {
		v := s.Uint64()
		for j := range 8 {
			got[8*i+j] = byte(v >> (8 * j))
		}
	}
	if h := hex.EncodeToString(got[:]); h != "dc95c078a2408989ad48a21492842087" {
		t.Errorf("got %s", h)
	}
}

func TestShortKeyIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := Secret(bytes.NewReader(make([]byte, KeySize-1))); err == nil {
		t.Error("31 bytes made a key")
	}
	if _, err := Secret(iotest.ErrReader(iotest.ErrTimeout)); err == nil {
		t.Error("a broken generator made a key")
	}
}

func TestLabelsAndSeedsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[uint64]bool{}
	for _, label := range []string{"", "a", "b", "ab"} {
		for i := range byte(4) {
			v := Public(Seed{i}, label).Uint64()
			if v != Public(Seed{i}, label).Uint64() {
				t.Error("one seed and label, two streams")
			}
			if seen[v] {
				t.Errorf("label %q, seed %d: seen before", label, i)
			}
			seen[v] = true
		}
	}
}

// Each bit, and each value below a number that does not divide 2^64, is as likely.
func TestUniform(t *testing.T) {
	t.Parallel()
	const n = 200_000
	s := Public(Seed{7}, "test")
	var ones [64]int
	var below [7]int
	for range n {
		v := s.Uint64()
		for b := range ones {
			ones[b] += int(v >> b & 1)
		}
		below[s.Below(7)]++
	}
	for b, k := range ones {
		if z := math.Abs(float64(k)-n/2) / math.Sqrt(n/4.); z > 5 {
			t.Errorf("bit %d: set %d times of %d", b, k, n)
		}
	}
	for v, k := range below {
		if z := math.Abs(float64(k)-n/7.) / math.Sqrt(n*6./49); z > 5 {
			t.Errorf("%d: drawn %d times of %d", v, k, n)
		}
	}
}

// With n just over 2^63 half of the words must be drawn again: the result stays below
// n, and its upper half is reached.
func TestBelowLarge(t *testing.T) {
	t.Parallel()
	const n = 1<<63 + 1
	s, upper := Public(Seed{1}, "test"), 0
	for range 1000 {
		v := s.Below(n)
		if v >= n {
			t.Fatal(v)
		}
		if v >= n/2 {
			upper++
		}
	}
	if upper < 400 || upper > 600 {
		t.Errorf("%d of 1000 in the upper half", upper)
	}
}

func BenchmarkUint64(b *testing.B) {
	s := Public(Seed{}, "benchmark")
	b.SetBytes(8)
	for b.Loop() {
		s.Uint64()
	}
}
