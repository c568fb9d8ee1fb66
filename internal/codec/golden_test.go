package codec_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"

	"atoll/internal/codec"
	"atoll/internal/keystream"
)

// The bits are the same on every machine; other processors were tried in emulation:
//
//	GOARCH=arm64 go test -c -o codec.test ./internal/codec && qemu-aarch64 codec.test -test.run TestGolden
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shape      codec.Shape
		words, sum string
		modulus    codec.Modulus
		clips      bool
	}{
		{codec.Shape{Dim: 1, Clip: 0.01, Bits: 8}, "01d1ea863caea8c1", "0d66bd808e9247ac", 12, true},
		{codec.Shape{Dim: 1000, Clip: 0.3, Bits: 12}, "b150152e08c11c6c", "fef39de26d8fe7f5", 16, true},
		{codec.Shape{Dim: 4096, Clip: 77, Bits: 20}, "2409670ab474d0c7", "26b3c43b28ca8eb3", 24, false},
		{codec.Shape{Dim: 5000, Clip: 3, Bits: 6, Keep: 700}, "36cadcb67f4ac569", "6495d26a1d056453", 10, false},
	} {
		g, seed := grid(t, c.shape), keystream.Seed{byte(c.shape.Dim)}
		x := make([]float32, c.shape.Dim)
		s := keystream.Public(keystream.Seed{}, "test")
		for i := range x { // from −0.05 to 0.05, exactly
			x[i] = float32(int32(s.Uint64())>>8) * 0x1p-28 * 1.625
		}
		y, report, err := g.Encode(x, seed, stream(t, 9))
		if err != nil || report.Clipped != c.clips {
			t.Fatal(report, err)
		}
		c.modulus.Reduce(y)
		sum, err := g.Decode(y, c.modulus, seed)
		if err != nil {
			t.Fatal(err)
		}
		h, k := sha256.New(), sha256.New()
		for _, w := range y {
			_ = binary.Write(h, binary.LittleEndian, w)
		}
		for _, v := range sum {
			_ = binary.Write(k, binary.LittleEndian, math.Float32bits(v))
		}
		if words, decoded := hex.EncodeToString(h.Sum(nil)[:8]), hex.EncodeToString(k.Sum(nil)[:8]); words != c.words || decoded != c.sum {
			t.Errorf("%+v: %q, %q", c.shape, words, decoded)
		}
	}
}
