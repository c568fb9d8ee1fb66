package weights_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
)

// llama2c stands for the path of a made-up checkpoint of llama2.c.
const llama2c = "llama2.c"

func open(t testing.TB, path string) *weights.Model {
	t.Helper()
	var o weights.Options
	if path == llama2c {
		path, o.Tokenizer = llmtest.Checkpoint(t)
	}
	m, err := weights.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func export(t testing.TB, m *weights.Model, format quant.Type) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.Export(context.Background(), &b, format); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func fromBytes(t testing.TB, b []byte) *weights.Model {
	t.Helper()
	m, err := weights.FromGGUF("test.gguf", bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConfigs(t *testing.T) {
	t.Parallel()
	story := weights.Config{
		Arch: weights.Llama, Layers: 5, Dim: 64, FFN: 172, Heads: 8, KVHeads: 4, HeadDim: 8, Vocab: llmtest.CheckpointVocab, Context: 512, NormEps: 1e-5,
		TiedEmbeddings: true, RoPE: weights.RoPE{Style: weights.Interleaved, Dim: 8, Base: 10000},
	}
	llama := weights.Config{
		Arch: weights.Llama, Layers: 2, Dim: 32, FFN: 48, Heads: 4, KVHeads: 2, HeadDim: 8, Vocab: 432, Context: 256, NormEps: 1e-5,
		RoPE: weights.RoPE{Style: weights.Halves, Dim: 8, Base: 500000, Factors: []float32{1, 8, 8, 8}},
	}
	qwen := weights.Config{
		Arch: weights.Qwen3, Layers: 2, Dim: 32, FFN: 48, Heads: 4, KVHeads: 2, HeadDim: 16, Vocab: 448, Context: 256, NormEps: 1e-5,
		TiedEmbeddings: true, QKNorm: true, RoPE: weights.RoPE{Style: weights.Halves, Dim: 16, Base: 1e6},
	}
	inGGUF := llama
	inGGUF.RoPE.Style = weights.Interleaved
	for path, want := range map[string]weights.Config{
		llama2c: story, "testdata/llama": llama, "testdata/llama-bf16.gguf": inGGUF, "testdata/llama-q8.gguf": inGGUF,
		"testdata/qwen3": qwen, "testdata/qwen3-f16.gguf": qwen, "testdata/qwen3-q8.gguf": qwen,
	} {
		if got := open(t, path).Config; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v\nwant %+v", path, got, want)
		}
	}
}

// The digests of canonical files, on every machine. Each group holds one model in
// several formats; those of gguf-py hold what its own quantiser and its own
// reordering of q and k make.
func TestCanonicalFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		format quant.Type
		digest string
		paths  []string
	}{
		{quant.F32, "f0b8ce0d1bda21b9c2941a14794b394c88a078f090aff7e426f9ffb822133ebf", []string{llama2c}},
		{quant.Q8_0, "7279e99ec3a509e82676977c4260239049008391124578de41fb62dacc568add", []string{llama2c}},
		{quant.F32, "f2283b3b47a141f568d845d4fe4830f4d0af9c10c51c22252fc9b16b04edc994", []string{"testdata/llama", "testdata/llama-bf16.gguf"}},
		{quant.Q8_0, "72b8f1f8439f299349e4739350c163bc611b3a45bc6105cee4ce713f0c3e47b5", []string{"testdata/llama", "testdata/llama-bf16.gguf", "testdata/llama-q8.gguf"}},
		{quant.F32, "dd87796379d01f2055f0eb890bee088d4e75dc40bd8593a519d3089e56c3cccc", []string{"testdata/qwen3", "testdata/qwen3-f16.gguf"}},
		{quant.Q8_0, "b9924675525d57ffab2dc6ae3e1c0f430dccad6f4b481d0f9d3557936060fef2", []string{"testdata/qwen3", "testdata/qwen3-f16.gguf", "testdata/qwen3-q8.gguf"}},
	} {
		for _, path := range c.paths {
			b := export(t, open(t, path), c.format)
			sum := sha256.Sum256(b)
			if got := hex.EncodeToString(sum[:]); got != c.digest {
				t.Errorf("%s as %s: %s, want %s", path, c.format, got, c.digest)
			}
			if again := export(t, fromBytes(t, b), c.format); !bytes.Equal(again, b) {
				t.Errorf("%s: exporting its %s file gave another file", path, c.format)
			}
		}
	}
}

// An exported model is the same model: same shape, same weights up to the order
// of rows within heads of q and k.
func TestExportKeepsTheModel(t *testing.T) {
	t.Parallel()
	m := open(t, "testdata/llama")
	out := fromBytes(t, export(t, m, quant.F32))
	want := m.Config
	want.RoPE.Style = weights.Interleaved
	if !reflect.DeepEqual(out.Config, want) {
		t.Errorf("%+v, want %+v", out.Config, want)
	}
	for _, id := range m.Config.Tensors() {
		a, b := rows(t, m, id), rows(t, out, id)
		for i := range a {
			from := i
			if id.Part == weights.AttnQ || id.Part == weights.AttnK {
				head, within := i/8, i%8 // heads of 8: elements 2j and 2j+1 were j and j+4
				from = head*8 + within%2*4 + within/2
			}
			if !reflect.DeepEqual(b[i], a[from]) {
				t.Fatalf("%s row %d is not row %d of the source", id, i, from)
			}
		}
	}
}

// rows reads a whole tensor, three rows at a time.
func rows(t testing.TB, m *weights.Model, id weights.ID) [][]float32 {
	t.Helper()
	x, err := m.Tensor(id)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]float32
	for r := 0; r < x.Rows; r += 3 {
		n := min(3, x.Rows-r)
		buf := make([]float32, n*x.Cols)
		if err := x.ReadRows(buf, r, n); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			out = append(out, buf[i*x.Cols:(i+1)*x.Cols])
		}
	}
	return out
}

func TestTiedOutputIsTheEmbedding(t *testing.T) {
	t.Parallel()
	m := open(t, llama2c)
	out, err := m.Tensor(weights.ID{Part: weights.Output})
	if err != nil || out.ID.Part != weights.TokenEmbedding {
		t.Errorf("%+v, %v", out, err)
	}
	for _, id := range []weights.ID{{Part: weights.AttnQ, Layer: 5}, {Part: weights.AttnQ, Layer: -1}, {Part: weights.AttnQBias}, {Part: weights.OutputNorm, Layer: 1}} {
		if x, err := m.Tensor(id); err == nil {
			t.Errorf("%s of layer %d is %+v", id, id.Layer, x)
		}
	}
}

// ReadQ8 gives the blocks that an export holds, whatever the source's format.
func TestReadQ8(t *testing.T) {
	t.Parallel()
	plain, packed := open(t, "testdata/qwen3"), open(t, "testdata/qwen3-q8.gguf")
	id := weights.ID{Part: weights.FFNUp, Layer: 1}
	a, err := plain.Tensor(id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := packed.Tensor(id)
	if err != nil {
		t.Fatal(err)
	}
	if a.Type != quant.F16 || b.Type != quant.Q8_0 {
		t.Fatalf("formats %s and %s", a.Type, b.Type)
	}
	x, y := make([]byte, 5*34), make([]byte, 5*34)
	if err := a.ReadQ8(x, 7, 5); err != nil {
		t.Fatal(err)
	}
	if err := b.ReadQ8(y, 7, 5); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Error("quantised here and by gguf-py they differ")
	}
	down, err := plain.Tensor(weights.ID{Part: weights.FFNDown}) // rows of 48
	if err != nil {
		t.Fatal(err)
	}
	if err := down.ReadQ8(make([]byte, 51), 0, 1); err == nil {
		t.Error("rows of 48 were read as blocks of 32")
	}
}

func TestReadsOutOfRange(t *testing.T) {
	t.Parallel()
	x, err := open(t, llama2c).Tensor(weights.ID{Part: weights.AttnQ})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ size, row, n int }{{64, 64, 1}, {64, -1, 1}, {128, 63, 2}, {63, 0, 1}, {0, 0, -1}, {64, 1 << 62, 1}} {
		if err := x.ReadRows(make([]float32, c.size), c.row, c.n); err == nil {
			t.Errorf("%d rows from %d into %d elements were read", c.n, c.row, c.size)
		}
	}
}

// A range of layers is loaded without a byte of the others being read.
func TestALayerReadsNothingElse(t *testing.T) {
	t.Parallel()
	file := export(t, open(t, "testdata/qwen3"), quant.Q8_0)
	watched := &watch{Reader: bytes.NewReader(file)}
	m, err := weights.FromGGUF("watched", watched, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	first, err := m.Tensor(weights.ID{Part: weights.TokenEmbedding})
	if err != nil {
		t.Fatal(err)
	}
	if watched.high > first.Offset+64<<10 { // the tables are read through a buffer
		t.Errorf("opening read up to byte %d; the weights begin at %d", watched.high, first.Offset)
	}
	watched.low, watched.high = int64(len(file)), 0
	begin, end := int64(len(file)), int64(0)
	for _, id := range m.Config.Tensors() {
		if id.Part < weights.AttnNorm || id.Layer != 1 {
			continue
		}
		rows(t, m, id)
		x, _ := m.Tensor(id)
		size, _ := x.Type.RowBytes(x.Cols)
		begin, end = min(begin, x.Offset), max(end, x.Offset+int64(x.Rows*size))
	}
	if watched.low != begin || watched.high != end {
		t.Errorf("read bytes %d to %d, but layer 1 is %d to %d", watched.low, watched.high, begin, end)
	}
}

// watch remembers what was read.
type watch struct {
	*bytes.Reader
	low, high int64
}

func (w *watch) ReadAt(p []byte, at int64) (int, error) {
	w.low, w.high = min(w.low, at), max(w.high, at+int64(len(p)))
	return w.Reader.ReadAt(p, at)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	if err := open(t, llama2c).Verify(context.Background()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := open(t, llama2c).Verify(ctx); err == nil {
		t.Error("a cancelled check went on")
	}
}

func TestOpenFromAnyPath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "renamed")
	b, err := os.ReadFile("testdata/llama-q8.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if m := open(t, path); m.Format != "gguf" {
		t.Errorf("a file without suffix was taken for %s", m.Format)
	}
}
