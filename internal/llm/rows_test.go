package llm

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/weights"
)

func TestProfiles(t *testing.T) {
	t.Parallel()
	for s, want := range map[string][]int{"": nil, "q8": nil, "f32": nil, "q8/1": {1}, "f32/2,10": {2, 10}} {
		p, err := ParseProfile(s)
		if err != nil || !slices.Equal(p.Cuts(), want) {
			t.Errorf("%q: %v, %v", s, p.Cuts(), err)
		}
	}
	for _, s := range []string{"q4", "Q8", "q8/", "/1", "q8/0", "q8/-1", "q8/01", "q8/+1", "q8/1,1", "q8/2,1", "q8/1,", "q8/1, 2", "q8/x", "q8/1/2", "q8/9999999999999999999999", "q8/" + strings.Repeat("1", 200)} {
		if p, err := ParseProfile(s); err == nil {
			t.Errorf("%q is taken for %q", s, p)
		}
	}
	c := &weights.Config{Layers: 4, Dim: 96}
	if err := Profile("q8/3").Check(c); err != nil {
		t.Error(err)
	}
	for p, c := range map[Profile]*weights.Config{"q8/4": c, "f32/1": {Layers: 4, Dim: 100}} {
		if p.Check(c) == nil {
			t.Errorf("%s passes for %+v", p, c)
		}
	}
	if _, err := Load(t.Context(), llmtest.Coral(t), Options{Profile: "q8/4"}); err == nil || !strings.Contains(err.Error(), "q8/4") {
		t.Errorf("a boundary behind the last layer: %v", err)
	}
}

// What goes between machines restores to what one machine goes on with, and what could
// not have been written is refused.
func TestRowForm(t *testing.T) {
	t.Parallel()
	c := &weights.Config{Layers: 2, Dim: 64}
	rows := make([]float32, 3*c.Dim)
	for i := range rows {
		rows[i] = float32(math.Sin(float64(i*i))) * float32(int(1)<<(i%20))
	}
	clear(rows[32:64])
	rows[100] = math.MaxFloat32 / 2
	for p, size := range map[Profile]int{"q8": 256, "q8/1": 72} {
		f := p.RowsBefore(1, c)
		b, err := f.Append([]byte("before"), rows)
		if err != nil || f.Bytes() != size || len(b) != 6+3*size {
			t.Fatal(len(b), f.Bytes(), err)
		}
		b = b[6:]
		want := slices.Clone(rows)
		if p != "q8" {
			if err := requantise(want); err != nil {
				t.Fatal(err)
			}
			if slices.Equal(want, rows) {
				t.Error("nothing is quantised")
			}
		}
		got := make([]float32, len(rows))
		if err := f.Check(b); err != nil {
			t.Fatal(err)
		}
		if f.Restore(got, b); !slices.Equal(got, want) {
			t.Errorf("%s: other numbers", p)
		}
		for name, spoil := range map[string]func(b []byte) []byte{
			"too short": func(b []byte) []byte { return b[1:] },
			"NaN":       func(b []byte) []byte { binary.LittleEndian.PutUint32(b, 0x7fc00000); return b },
			"infinity":  func(b []byte) []byte { binary.LittleEndian.PutUint32(b, 0xff800000); return b },
		} {
			if f.Check(spoil(slices.Clone(b))) == nil {
				t.Errorf("%s: %s passes", p, name)
			}
		}
		if _, err := f.Append(nil, []float32{0, float32(math.NaN())}); err == nil {
			t.Error("NaN is written")
		}
	}
	f := Profile("q8/1").RowsBefore(1, c)
	b, _ := f.Append(nil, rows)
	for at, v := range map[int]byte{3: 0xbf, 4 + 5: 0x80} { // a scale below zero, an integer of −128
		bad := slices.Clone(b)
		if bad[at] = v; f.Check(bad) == nil {
			t.Errorf("byte %d of %x passes", at, v)
		}
	}
	binary.LittleEndian.PutUint32(b, math.Float32bits(math.MaxFloat32/100))
	if f.Check(b) == nil {
		t.Error("a scale passes whose numbers are infinite")
	}
}

func FuzzRowForm(f *testing.F) {
	form := Profile("q8/1").RowsBefore(1, &weights.Config{Layers: 2, Dim: 32})
	b, _ := form.Append(nil, make([]float32, 32))
	f.Add(b)
	f.Add(bytes.Repeat([]byte{1}, 36))
	f.Fuzz(func(t *testing.T, b []byte) {
		if form.Check(b) != nil {
			return
		}
		rows := make([]float32, len(b)/form.Bytes()*32)
		form.Restore(rows, b)
		if _, err := form.Append(nil, rows); err != nil {
			t.Fatal(err)
		}
	})
}

// Two ranges of layers with bytes between give what one gives that has them all,
// wherever the profile lets them be cut.
func TestRangesMeet(t *testing.T) {
	t.Parallel()
	file := llmtest.Coral(t)
	tokens := []int32{5, 9, 300, 41, 7, 8}
	forward := func(p Profile, first, last int, s Span) []float32 {
		m, err := Load(t.Context(), file, Options{Profile: p, First: first, Last: last})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDecoder(m, newPool(t, 1), DecoderConfig{Pages: 1, Batch: 16, Context: 16})
		if err != nil {
			t.Fatal(err)
		}
		s.Pages, s.Want = []int32{0}, len(tokens)
		out, err := d.Forward([]Span{s})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(out)
	}
	layers := file.Config.Layers
	seen := map[string]Profile{}
	for _, p := range []Profile{"q8", "q8/1", "q8/1,3", "q8/2", "f32/2,3"} {
		whole := forward(p, 0, layers, Span{Tokens: tokens})
		key := string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(whole[0])))
		if other, there := seen[key]; there {
			t.Errorf("%s and %s are one", p, other)
		}
		seen[key] = p
		for cut := 1; cut < layers; cut++ {
			if p != "q8" && !slices.Contains(p.Cuts(), cut) {
				continue
			}
			form := p.RowsBefore(cut, &file.Config)
			b, err := form.Append(nil, forward(p, 0, cut, Span{Tokens: tokens}))
			if err != nil {
				t.Fatal(err)
			}
			hidden := make([]float32, len(tokens)*file.Config.Dim)
			if form.Restore(hidden, b); !slices.Equal(forward(p, cut, layers, Span{Hidden: hidden}), whole) {
				t.Errorf("%s, cut before layer %d: other logits", p, cut)
			}
		}
	}
}
