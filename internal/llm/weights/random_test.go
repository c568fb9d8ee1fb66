package weights

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"atoll/internal/llm/quant"
)

func randomConfig() Config {
	return Config{
		Arch: Llama, Layers: 2, Dim: 64, FFN: 96, Heads: 4, KVHeads: 2, HeadDim: 16, Vocab: 300, Context: 128, NormEps: 1e-5, TiedEmbeddings: true,
		RoPE: RoPE{Style: Interleaved, Dim: 16, Base: 10000},
	}
}

// A random model is the same everywhere and however it is read, and its file is
// a model like any other.
func TestRandom(t *testing.T) {
	t.Parallel()
	m, err := Random(randomConfig(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := m.Export(t.Context(), &file, quant.Q8_0); err != nil {
		t.Fatal(err)
	}
	const want = "d21b0248fbafb9c5"
	if got := fmt.Sprintf("%x", sha256.Sum256(file.Bytes()))[:16]; got != want {
		t.Errorf("its file is %s, want %s", got, want)
	}
	back, err := FromGGUF("back", bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	id := ID{Part: FFNDown, Layer: 1}
	whole, err := back.Tensor(id)
	if err != nil {
		t.Fatal(err)
	}
	piece, _ := m.Tensor(id)
	a, b := make([]float32, whole.Rows*whole.Cols), make([]float32, 3*piece.Cols)
	if err := whole.ReadRows(a, 0, whole.Rows); err != nil {
		t.Fatal(err)
	}
	if err := piece.ReadRows(b, 17, 3); err != nil {
		t.Fatal(err)
	}
	for i, v := range b {
		if v != a[17*whole.Cols+i] {
			t.Fatalf("element %d of rows 17 to 19: %v and %v", i, v, a[17*whole.Cols+i])
		}
	}
	other, _ := Random(randomConfig(), 2)
	piece, _ = other.Tensor(id)
	if err := piece.ReadRows(b, 17, 3); err != nil || b[0] == a[17*whole.Cols] && b[1] == a[17*whole.Cols+1] {
		t.Errorf("another seed gives the same weights (%v)", err)
	}
}

func TestRandomRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no layers":          func(c *Config) { c.Layers = 0 },
		"few tokens":         func(c *Config) { c.Vocab = 100 },
		"odd width":          func(c *Config) { c.FFN = 97 },
		"heads do not share": func(c *Config) { c.KVHeads = 3 },
	} {
		c := randomConfig()
		change(&c)
		if _, err := Random(c, 1); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
