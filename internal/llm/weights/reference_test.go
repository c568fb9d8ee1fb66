package weights_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
)

// reference is a decoder in binary64, as plain as can be: what a Config means, in
// code. It shows that tensors, shapes and rotary styles are read right.
type reference struct {
	c         weights.Config
	w         map[weights.ID][][]float32
	k, v      map[int][][]float64 // of each layer: of each position
	freq      []float64
	magnitude float64
}

func newReference(t testing.TB, m *weights.Model) *reference {
	r := &reference{c: m.Config, w: map[weights.ID][][]float32{}, k: map[int][][]float64{}, v: map[int][][]float64{}}
	for _, id := range append(m.Config.Tensors(), weights.ID{Part: weights.Output}) {
		r.w[id] = rows(t, m, id)
	}
	r.freq, r.magnitude = m.Config.RoPE.Frequencies()
	return r
}

func (r *reference) apply(p weights.Part, layer int, x []float64) []float64 {
	w := r.w[weights.ID{Part: p, Layer: layer}]
	out := make([]float64, len(w))
	for i, row := range w {
		for j, v := range row {
			out[i] += float64(v) * x[j]
		}
	}
	return out
}

func (r *reference) norm(p weights.Part, layer int, x []float64) []float64 {
	var sum float64
	for _, v := range x {
		sum += v * v
	}
	out := make([]float64, len(x))
	for i, w := range r.w[weights.ID{Part: p, Layer: layer}][0] {
		out[i] = float64(w) * x[i] / math.Sqrt(sum/float64(len(x))+float64(r.c.NormEps))
	}
	return out
}

// heads applies f to each head in turn.
func (r *reference) heads(x []float64, f func(head []float64) []float64) []float64 {
	var out []float64
	for i := 0; i < len(x); i += r.c.HeadDim {
		out = append(out, f(x[i:i+r.c.HeadDim])...)
	}
	return out
}

func (r *reference) rotate(pos int) func([]float64) []float64 {
	return func(head []float64) []float64 {
		out := append([]float64(nil), head...)
		for i, f := range r.freq {
			a, b := 2*i, 2*i+1
			if r.c.RoPE.Style == weights.Halves {
				a, b = i, i+r.c.RoPE.Dim/2
			}
			sin, cos := math.Sincos(float64(pos) * f)
			out[a] = r.magnitude * (head[a]*cos - head[b]*sin)
			out[b] = r.magnitude * (head[a]*sin + head[b]*cos)
		}
		return out
	}
}

// step returns the logits after one more token.
func (r *reference) step(token int32) []float64 {
	x := make([]float64, r.c.Dim)
	for i, v := range r.w[weights.ID{Part: weights.TokenEmbedding}][token] {
		x[i] = float64(v)
	}
	add := func(y []float64) {
		for i := range x {
			x[i] += y[i]
		}
	}
	for l := range r.c.Layers {
		in := r.norm(weights.AttnNorm, l, x)
		q, k := r.apply(weights.AttnQ, l, in), r.apply(weights.AttnK, l, in)
		if r.c.QKNorm {
			q = r.heads(q, func(h []float64) []float64 { return r.norm(weights.AttnQNorm, l, h) })
			k = r.heads(k, func(h []float64) []float64 { return r.norm(weights.AttnKNorm, l, h) })
		}
		turn := r.rotate(len(r.k[l]))
		r.k[l], r.v[l] = append(r.k[l], r.heads(k, turn)), append(r.v[l], r.apply(weights.AttnV, l, in))
		add(r.apply(weights.AttnOut, l, r.attend(l, r.heads(q, turn))))
		in = r.norm(weights.FFNNorm, l, x)
		gate, up := r.apply(weights.FFNGate, l, in), r.apply(weights.FFNUp, l, in)
		for i, g := range gate {
			up[i] *= g / (1 + math.Exp(-g))
		}
		add(r.apply(weights.FFNDown, l, up))
	}
	return r.apply(weights.Output, 0, r.norm(weights.OutputNorm, 0, x))
}

func (r *reference) attend(l int, q []float64) []float64 {
	group, d := r.c.Heads/r.c.KVHeads, r.c.HeadDim
	out := make([]float64, len(q))
	for h := range r.c.Heads {
		at := h / group * d
		var total float64
		score := make([]float64, len(r.k[l]))
		for p, k := range r.k[l] {
			for i := range d {
				score[p] += q[h*d+i] * k[at+i]
			}
			score[p] = math.Exp(score[p] / math.Sqrt(float64(d)))
			total += score[p]
		}
		for p, v := range r.v[l] {
			for i := range d {
				out[h*d+i] += score[p] / total * v[at+i]
			}
		}
	}
	return out
}

// tell continues from BOS, always with the likeliest token.
func tell(t *testing.T, m *weights.Model, steps int) string {
	t.Helper()
	tok, err := tokenizer.New(m.Vocab)
	if err != nil {
		t.Fatal(err)
	}
	r, ids := newReference(t, m), []int32{m.Vocab.BOS}
	for range steps {
		logits := r.step(ids[len(ids)-1])
		best := int32(0)
		for i, v := range logits {
			if v > logits[best] {
				best = int32(i)
			}
		}
		ids = append(ids, best)
	}
	return tok.Decode(ids)
}

// A checkpoint of llama2.c and the GGUF file made of it tell the story that run.c
// tells.
func TestStory(t *testing.T) {
	t.Parallel()
	dir := llmtest.Stories(t)
	b, err := os.ReadFile(filepath.Join(dir, "golden_temp0_n200.txt"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimRight(string(b), "\n")
	m, err := weights.Open(filepath.Join(dir, "stories260K.bin"), weights.Options{Tokenizer: filepath.Join(dir, "tok512.bin")})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for name, m := range map[string]*weights.Model{"the checkpoint": m, "its GGUF file": fromBytes(t, export(t, m, quant.F32))} {
		if got := tell(t, m, 200); got != want {
			t.Errorf("%s tells\n%q, want\n%q", name, got, want)
		}
	}
}

// The same of a made-up checkpoint: both are one model.
func TestCheckpointIsItsExport(t *testing.T) {
	t.Parallel()
	m := open(t, llama2c)
	if a, b := tell(t, m, 40), tell(t, fromBytes(t, export(t, m, quant.F32)), 40); a != b || a == "" {
		t.Errorf("the checkpoint tells %q, its GGUF file %q", a, b)
	}
}

// The same weights in either rotary style are the same model.
func TestStylesAgree(t *testing.T) {
	t.Parallel()
	m := open(t, "testdata/llama")
	halves, interleaved := newReference(t, m), newReference(t, fromBytes(t, export(t, m, quant.F32)))
	if halves.c.RoPE.Style == interleaved.c.RoPE.Style {
		t.Fatal("both are of one style")
	}
	for _, token := range []int32{7, 300, 12, 12, 99, 431, 0} {
		a, b := halves.step(token), interleaved.step(token)
		for i := range a {
			if math.Abs(a[i]-b[i]) > 1e-9 {
				t.Fatalf("after token %d logit %d is %v or %v", token, i, a[i], b[i])
			}
		}
	}
}
