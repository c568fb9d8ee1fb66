package record

import (
	"math"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"

	"atoll/internal/core"
)

// A change of any logit's last bit is another fingerprint, which is that of all bytes.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	logits := make([]float32, 3000)
	var whole []byte
	for i := range logits {
		logits[i] = float32(math.Sin(float64(i)))
		b := math.Float32bits(logits[i])
		whole = append(whole, byte(b), byte(b>>8), byte(b>>16), byte(b>>24))
	}
	want := Fingerprint(logits)
	if want != xxhash.Sum64(whole) {
		t.Error("not the XXH64 of the logits' bytes")
	}
	for i := range logits {
		logits[i] = math.Float32frombits(math.Float32bits(logits[i]) ^ 1)
		if Fingerprint(logits) == want {
			t.Errorf("logit %d does not count", i)
		}
		logits[i] = math.Float32frombits(math.Float32bits(logits[i]) ^ 1)
	}
}

// Rows are linked one by one, however many are added at a time.
func TestRows(t *testing.T) {
	t.Parallel()
	rows := make([]byte, 5*12)
	for i := range rows {
		rows[i] = byte(i)
	}
	at, one := New(core.DigestOf(nil)), New(core.DigestOf(nil))
	at.Rows(rows[:24], 2)
	at.Rows(rows[24:], 3)
	for i := range 5 {
		one.Rows(rows[12*i:12*i+12], 1)
	}
	one.Rows(nil, 1)
	if at.Len() != 5 || one.Len() != 5 || !slices.Equal(at.Links(5), one.Links(5)) || slices.Equal(at.Links(4), at.Links(5)) {
		t.Error("other links")
	}
}

func BenchmarkFingerprint(b *testing.B) {
	logits := make([]float32, 49152)
	b.SetBytes(int64(4 * len(logits)))
	for b.Loop() {
		Fingerprint(logits)
	}
}
