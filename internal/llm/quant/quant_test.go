package quant_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/llm/quant"
)

// vectors are what gguf-py computes; see testdata/make.py.
type vectors struct {
	Decode map[string]struct{ Raw, Want string }
	Encode []struct{ X, Want string }
}

func load(t *testing.T) vectors {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func floats(b []byte) []float32 {
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

var types = []quant.Type{quant.F32, quant.F16, quant.BF16, quant.Q8_0, quant.Q4_0, quant.Q4_1, quant.Q5_0, quant.Q5_1, quant.Q4_K, quant.Q5_K, quant.Q6_K}

func TestDecodeAsGGML(t *testing.T) {
	t.Parallel()
	for name, v := range load(t).Decode {
		raw, want := unbase64(t, v.Raw), floats(unbase64(t, v.Want))
		var kind quant.Type
		for _, k := range types {
			if k.String() == name {
				kind = k
			}
		}
		if kind.String() != name {
			t.Fatalf("the vectors hold %s, which the test does not list", name)
		}
		got := make([]float32, len(want))
		if err := quant.Decode(got, raw, kind); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range got {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) && (got[i] != 0 || want[i] != 0) {
				t.Fatalf("%s: element %d is %v, want %v", name, i, got[i], want[i])
			}
		}
	}
}

func TestEncodeQ8AsGGML(t *testing.T) {
	t.Parallel()
	for i, v := range load(t).Encode {
		x, want := floats(unbase64(t, v.X)), unbase64(t, v.Want)
		got := make([]byte, len(want))
		if err := quant.EncodeQ8(got, x); err != nil {
			t.Errorf("row %d: %v", i, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("row %d:\n%x, want\n%x", i, got, want)
		}
	}
}

func TestEncodeQ8AtItsLimits(t *testing.T) {
	t.Parallel()
	encode := func(v float32) ([]byte, error) {
		x := make([]float32, 32)
		x[7] = v
		dst := bytes.Repeat([]byte{0xAA}, quant.Q8Bytes)
		return dst, quant.EncodeQ8(dst, x)
	}
	for _, tiny := range []float32{0, 1e-45, 1e-38, 3.7e-6, -3.7e-6} {
		if b, err := encode(tiny); err != nil || !bytes.Equal(b, make([]byte, quant.Q8Bytes)) {
			t.Errorf("%g gives %x, %v; want zeros", tiny, b, err)
		}
	}
	if b, err := encode(4e-6); err != nil || b[9] != 127 {
		t.Errorf("4e-6 gives %x, %v", b, err)
	}
	if _, err := encode(8.3e6); err != nil {
		t.Errorf("8.3e6: %v", err)
	}
	if _, err := encode(8.4e6); !errors.Is(err, quant.ErrRange) {
		t.Errorf("8.4e6: %v, want ErrRange", err)
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if _, err := encode(float32(bad)); !errors.Is(err, quant.ErrNotFinite) {
			t.Errorf("%g: %v, want ErrNotFinite", bad, err)
		}
	}
}

// Each element comes back within half a step, plus what rounding the scale to
// binary16 costs.
func TestQ8IsNear(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Float32Range(-1000, 1000), 32, 32).Draw(t, "x")
		b := make([]byte, quant.Q8Bytes)
		if err := quant.EncodeQ8(b, x); err != nil {
			t.Fatal(err)
		}
		y := make([]float32, 32)
		if err := quant.Decode(y, b, quant.Q8_0); err != nil {
			t.Fatal(err)
		}
		var top float64
		for _, v := range x {
			top = max(top, math.Abs(float64(v)))
		}
		for i := range x {
			if d := math.Abs(float64(x[i] - y[i])); d > top/127*(0.5+127.0/1024)+1e-5 {
				t.Fatalf("element %d: %v became %v, with a maximum of %v", i, x[i], y[i], top)
			}
		}
	})
}

func TestNotFiniteIsRefused(t *testing.T) {
	t.Parallel()
	nan := []byte{0, 0x7E}
	for _, kind := range types {
		size, _ := kind.RowBytes(256)
		raw := make([]byte, size)
		switch kind {
		case quant.F32:
			copy(raw[8:], []byte{0, 0, 0x80, 0x7F})
		case quant.BF16:
			copy(raw[8:], []byte{0x80, 0x7F})
		case quant.Q6_K:
			copy(raw[208:], nan)
		default:
			copy(raw, nan)
		}
		if err := quant.Decode(make([]float32, 256), raw, kind); !errors.Is(err, quant.ErrNotFinite) {
			t.Errorf("%s: %v, want ErrNotFinite", kind, err)
		}
	}
	block := make([]byte, 2*quant.Q8Bytes)
	copy(block[quant.Q8Bytes:], []byte{0, 0xFC})
	if err := quant.CheckQ8(block); !errors.Is(err, quant.ErrNotFinite) {
		t.Errorf("CheckQ8: %v, want ErrNotFinite", err)
	}
}

func TestShapes(t *testing.T) {
	t.Parallel()
	if _, err := quant.Q4_K.RowBytes(128); !errors.Is(err, quant.ErrShape) {
		t.Errorf("half a Q4_K block: %v", err)
	}
	if _, err := quant.Q8_0.RowBytes(-32); !errors.Is(err, quant.ErrShape) {
		t.Errorf("a negative row: %v", err)
	}
	if _, err := quant.Type(10).RowBytes(256); !errors.Is(err, quant.ErrType) {
		t.Errorf("Q2_K: %v", err)
	}
	if err := quant.Decode(make([]float32, 32), make([]byte, 33), quant.Q8_0); !errors.Is(err, quant.ErrShape) {
		t.Errorf("a byte too few: %v", err)
	}
	if err := quant.EncodeQ8(make([]byte, 34), make([]float32, 31)); !errors.Is(err, quant.ErrShape) {
		t.Errorf("31 elements: %v", err)
	}
	if err := quant.CheckQ8(make([]byte, 35)); !errors.Is(err, quant.ErrShape) {
		t.Errorf("35 bytes: %v", err)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, kind := range types {
		b.Run(kind.String(), func(b *testing.B) {
			size, err := kind.RowBytes(4096)
			if err != nil {
				b.Fatal(err)
			}
			raw, dst := make([]byte, size), make([]float32, 4096)
			b.SetBytes(int64(4 * len(dst)))
			for b.Loop() {
				if err := quant.Decode(dst, raw, kind); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeQ8(b *testing.B) {
	x, dst := make([]float32, 4096), make([]byte, 128*quant.Q8Bytes)
	for i := range x {
		x[i] = float32(i%251) - 125
	}
	b.SetBytes(int64(4 * len(x)))
	for b.Loop() {
		if err := quant.EncodeQ8(dst, x); err != nil {
			b.Fatal(err)
		}
	}
}
