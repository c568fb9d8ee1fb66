package text_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"atoll/internal/learn/text"
)

// tiny is a model file of two labels and two rows, written by hand from the
// package comment.
func tiny() []byte {
	le := binary.LittleEndian
	b := []byte("atolltxt")
	for _, v := range []uint32{1, 10, 2, 2} {
		b = le.AppendUint32(b, v)
	}
	for _, l := range []string{"ham", "spam"} { // labels: 24
		b = append(le.AppendUint16(b, uint16(len(l))), l...)
	}
	for _, v := range []float32{0.5, -0.5} { // bias: 35
		b = le.AppendUint32(b, math.Float32bits(v))
	}
	b = le.AppendUint32(le.AppendUint32(b, 3), 1023) // buckets: 43
	for _, v := range []float32{1, 0.25} {           // scales: 51
		b = le.AppendUint32(b, math.Float32bits(v))
	}
	return append(b, 127, 0x81, 0, 5) // weights: 59
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for name, file := range map[string][]byte{"by hand": tiny(), "trained": small().Marshal()} {
		m, err := text.Parse(file)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(m.Marshal(), file) {
			t.Errorf("%s: written back, it has other bytes", name)
		}
	}
	m, err := text.Parse(tiny())
	if err != nil {
		t.Fatal(err)
	}
	res, err := m.Classify("", 2, 0)
	// With the bias alone: 1/(1+e^-1) = 0.731059.
	if err != nil || res.Classes[0] != (text.Class{Label: "ham", P: 731_059}) || res.Classes[1].P != 268_941 {
		t.Errorf("the empty text gives %v, %v", res, err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	putFloat := func(at int, v float32) func([]byte) []byte { return put32(at, math.Float32bits(v)) }
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		change func([]byte) []byte
		says   string
	}{
		"empty":            {func([]byte) []byte { return nil }, "start"},
		"other magic":      {func(b []byte) []byte { b[0] = 'A'; return b }, "start"},
		"version 2":        {put32(8, 2), "version 2"},
		"9 bits":           {put32(12, 9), "9 bits"},
		"2^31 bits":        {put32(12, 1<<31), "bits"},
		"1 label":          {put32(16, 1), "1 labels"},
		"2^32-1 labels":    {put32(16, math.MaxUint32), "labels"},
		"rows over bits":   {put32(20, 1025), "1025 rows"},
		"2^32-1 rows":      {put32(20, math.MaxUint32), "rows"},
		"labels unsorted":  {func(b []byte) []byte { return bytes.Replace(b, []byte("spam"), []byte("gram"), 1) }, "gram"},
		"label unprinted":  {func(b []byte) []byte { return bytes.Replace(b, []byte("spam"), []byte("sp\nm"), 1) }, "label"},
		"label no utf-8":   {func(b []byte) []byte { return bytes.Replace(b, []byte("spam"), []byte("sp\xffm"), 1) }, "label"},
		"label past end":   {func(b []byte) []byte { b[24] = 200; return b }, "early"},
		"bias nan":         {putFloat(35, nan), "bias"},
		"bias inf":         {putFloat(39, float32(math.Inf(1))), "bias"},
		"bias huge":        {putFloat(35, 1<<21), "bias"},
		"bucket too high":  {put32(47, 1024), "bucket 1024"},
		"buckets equal":    {put32(47, 3), "bucket 3"},
		"scale 0":          {putFloat(51, 0), "scale"},
		"scale negative":   {putFloat(51, -1), "scale"},
		"scale subnormal":  {put32(55, 1), "scale"},
		"scale nan":        {putFloat(55, nan), "scale"},
		"weight -128":      {func(b []byte) []byte { b[59] = 0x80; return b }, "-128"},
		"a byte too many":  {func(b []byte) []byte { return append(b, 0) }, "1 bytes too many"},
		"much too much":    {func(b []byte) []byte { return append(b, make([]byte, 1<<20)...) }, "too many"},
		"a byte too few":   {func(b []byte) []byte { return b[:len(b)-1] }, "1 bytes early"},
		"claims 64 MiB":    {func(b []byte) []byte { put32(12, 22)(b); put32(16, 16)(b); return put32(20, 1<<22)(b) }, ""},
		"claims too many":  {func(b []byte) []byte { put32(12, 22)(b); put32(16, 1024)(b); return put32(20, 1<<22)(b) }, "4194304 rows"},
		"text, not binary": {func([]byte) []byte { return []byte(strings.Repeat("atolltxt", 20)) }, "version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := text.Parse(c.change(tiny()))
			if !errors.Is(err, text.ErrFormat) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that is %q and says %q", err, text.ErrFormat, c.says)
			}
		})
	}
	for n := range tiny() {
		if _, err := text.Parse(tiny()[:n]); !errors.Is(err, text.ErrFormat) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

// FuzzParse parses anything: it is refused as no model, or is written back byte
// for byte and classifies.
func FuzzParse(f *testing.F) {
	f.Add(tiny())
	f.Add([]byte("atolltxt"))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := text.Parse(file)
		if err != nil {
			if !errors.Is(err, text.ErrFormat) {
				t.Fatalf("error of no known kind: %v", err)
			}
			return
		}
		if !bytes.Equal(m.Marshal(), file) {
			t.Fatal("written back, the file has other bytes")
		}
		if _, err := m.Classify("my card was swallowed, help!", 3, 3); err != nil {
			t.Fatalf("a model that parses must classify: %v", err)
		}
	})
}

// FuzzClassify reads any text: probabilities stay in range and the same bytes
// give the same answer.
func FuzzClassify(f *testing.F) {
	for _, s := range []string{"my card is gone", "ÄÖÜ straße", "l'été à Noël", "بِسْمِ اللَّهِ", "ＦＵＬＬ ①②", "e\u0301", "\xff", "a\u200db 👩‍💻", "İI"} {
		f.Add(s)
	}
	m := small()
	f.Fuzz(func(t *testing.T, s string) {
		res, err := m.Classify(s, 2, 3)
		if err != nil {
			if len(s) <= text.MaxText {
				t.Fatal(err)
			}
			return
		}
		again, err := m.Classify(s, 2, 3)
		if err != nil || len(again.Reasons) != len(res.Reasons) || again.Classes[0] != res.Classes[0] {
			t.Fatalf("%v, then %v, %v", res, again, err)
		}
		for _, c := range res.Classes {
			if c.P < 0 || c.P > 1_000_000 {
				t.Fatalf("probability %d ppm", c.P)
			}
		}
	})
}
