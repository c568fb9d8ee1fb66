package llm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
)

// questions are lines of all kinds, cold and warm.
func questions(rng *rand.Rand, n, tokens int) []byte {
	var b bytes.Buffer
	prompts := []string{"Once upon a time", "The cat", "I", "She was not in the"}
	for i := range n {
		fmt.Fprintf(&b, `{"id":%d,"prompt":%q,"max_tokens":%d,"temperature":%v,"seed":%d`, i, prompts[rng.IntN(len(prompts))], tokens, []float64{0, 0.7, 1}[rng.IntN(3)], rng.IntN(1000))
		switch rng.IntN(4) {
		case 0:
			b.WriteString(`,"stop":["the"]`)
		case 1:
			b.WriteString(`,"top_p":0.9`)
		case 2:
			b.WriteString(`,"logprobs":2`)
		}
		b.WriteString("} \n")
	}
	return b.Bytes()
}

func lotOf(i int) (lot [32]byte) { return core.DigestOf(binary.BigEndian.AppendUint64(nil, uint64(i))) }

func answerAll(t testing.TB, in engine.Instance, data []byte, params map[string]string) []byte {
	t.Helper()
	out, _, err := in.Run(t.Context(), engine.Input{Data: data, Params: params})
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return out.Data
}

// confirms runs a piece of a claim again and reports whether all is as claimed.
func confirms(t testing.TB, in engine.Instance, data, claimed []byte, size, lot int) bool {
	t.Helper()
	piece, err := Piece(engine.Input{Data: data}, claimed, size, lotOf(lot))
	if err != nil {
		return false // all would be run again
	}
	out, _, err := in.Run(t.Context(), engine.Input{Data: piece})
	return err == nil && bytes.Equal(out.Data, claimed)
}

// An honest node passes every check, by whichever machine with however many
// threads, of whichever piece.
func TestHonestAnswersAreConfirmed(t *testing.T) {
	t.Parallel()
	worker := open(t, "acme")
	single, err := New(Config{Threads: 1, Lines: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { single.Close() })
	checker := load(t, single, "acme")
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		data := questions(rng, 1+rng.IntN(6), 1+rng.IntN(120))
		claimed := answerAll(t, worker, data, nil)
		if again := answerAll(t, checker, data, nil); !bytes.Equal(again, claimed) {
			t.Fatalf("%s\nthe whole differs:\n%s%s", data, claimed, again)
		}
		for _, size := range []int{1, 7, 32, 1000} {
			if !confirms(t, checker, data, claimed, size, i) {
				t.Fatalf("%s\nclaimed %s\na piece of %d differs", data, claimed, size)
			}
		}
	}
}

// altered is the model with its weights put through f, as another file.
func altered(t testing.TB, f func(float32) float32) []byte {
	t.Helper()
	file := llmtest.Changed(t, func(_ weights.ID, x []float32) {
		for i, v := range x {
			x[i] = f(v)
		}
	})
	m, err := weights.FromGGUF("altered", bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := m.Export(t.Context(), &b, quant.Q8_0); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func loadFile(t testing.TB, file []byte) engine.Instance {
	t.Helper()
	e := newEngine(t)
	t.Cleanup(func() { e.Close() })
	path := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := e.Load(t.Context(), engine.Model{Digest: core.DigestOf(file), Path: path, Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// Whoever computes something else than was asked is found by running the whole
// again, and by running a piece again as often as the piece is long for what was
// changed: always, where every token is another; seldom, where one token is.
func TestCheatsAreCaught(t *testing.T) {
	t.Parallel()
	honest := open(t, "acme")
	const n, tokens, size, lots = 4, 128, 32, 16
	line := `{"id":%d,"prompt":"Once upon a time","max_tokens":%d,"temperature":%v,"seed":%d}` + "\n"
	ask := func(temperature float64, seed, tokens int) []byte {
		var b bytes.Buffer
		for i := range n {
			fmt.Fprintf(&b, line, i, tokens, temperature, seed+i)
		}
		return b.Bytes()
	}
	data := ask(1, 7, tokens)
	truth := answerAll(t, honest, data, nil)
	coarse := func(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1<<20 - 1)) } // 4 bits of 24
	for _, c := range []struct {
		name  string
		claim []byte
		least int // of the lots, how many find it
	}{
		{"another quantisation", answerAll(t, honest, data, map[string]string{"profile": "f32"}), 1},
		{"weights requantised", answerAll(t, loadFile(t, altered(t, coarse)), data, nil), lots / 2},
		{"other weights", answerAll(t, loadFile(t, altered(t, func(v float32) float32 { return 1.1 * v })), data, nil), lots / 2},
		{"another seed", answerAll(t, honest, ask(1, 8, tokens), nil), lots},
		{"another sampler", answerAll(t, honest, ask(0.3, 7, tokens), nil), lots},
		{"a truncated answer", answerAll(t, honest, ask(1, 7, tokens/2), nil), lots},
		{"a changed token", change(t, truth, func(s *claimLine) { s.Tokens[70] = (s.Tokens[70] + 1) % 2048 }), 1},
		{"a changed token, and the text to go with it", answerAll(t, honest, forced(t, data, truth), nil), 1},
		{"a token too many", change(t, truth, func(s *claimLine) { s.Tokens = append(s.Tokens, 5); s.Usage.Completion++ }), lots},
		{"a token that there is not", change(t, truth, func(s *claimLine) { s.Tokens[3] = 5000 }), lots},
		{"another text for the tokens", change(t, truth, func(s *claimLine) { s.Text = strings.Replace(s.Text, "was", "is", 1) }), lots},
		{"another reason to end", change(t, truth, func(s *claimLine) { s.Finish = "stop" }), lots},
		{"more tokens metered", change(t, truth, func(s *claimLine) { s.Usage.Prompt++ }), lots},
		{"no answer of the engine's", []byte("42\n"), lots},
	} {
		t.Run(c.name, func(t *testing.T) {
			if bytes.Equal(c.claim, truth) {
				t.Fatal("running the whole again does not find it")
			}
			found := 0
			for lot := range lots {
				if !confirms(t, honest, data, c.claim, size, lot) {
					found++
				}
			}
			t.Logf("%d of %d pieces find it", found, lots)
			if found < c.least {
				t.Errorf("found by %d of %d pieces, want %d", found, lots, c.least)
			}
		})
	}
}

// claimLine is a line of output, written as the engine writes it.
type claimLine struct {
	ID     int    `json:"id"`
	Text   string `json:"text"`
	Finish string `json:"finish_reason"`
	Usage  struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	} `json:"usage"`
	Tokens []int32 `json:"tokens"`
}

// change edits the first line of a claim.
func change(t testing.TB, claimed []byte, edit func(*claimLine)) []byte {
	t.Helper()
	first, rest, _ := bytes.Cut(claimed, []byte("\n"))
	var s claimLine
	if err := json.Unmarshal(first, &s); err != nil {
		t.Fatal(err)
	}
	edit(&s)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(&s); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), rest...)
}

// forced asks for the true answers with one token of the first changed, so that all
// else, the text too, is what would have followed it.
func forced(t testing.TB, data, truth []byte) []byte {
	t.Helper()
	question, rest, _ := bytes.Cut(data, []byte("\n"))
	var s claimLine
	if err := json.Unmarshal(truth[:bytes.IndexByte(truth, '\n')], &s); err != nil {
		t.Fatal(err)
	}
	known := append(s.Tokens[:70:70], (s.Tokens[70]+1)%512)
	text, err := json.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSuffix(string(question), "}") + fmt.Sprintf(`,"known":{"before":%s,"draw":1}}`, text)
	return append([]byte(line+"\n"), rest...)
}

// Every token of an answer is as likely to be drawn again as any other.
func TestPiecesCoverAll(t *testing.T) {
	t.Parallel()
	data := []byte(`{"prompt":"x","max_tokens":100}`)
	claimed := []byte(`{"tokens":[` + strings.TrimSuffix(strings.Repeat("1,", 100), ",") + "]}\n")
	const size, lots = 32, 2000
	var drawn [100]int
	for lot := range lots {
		piece, err := Piece(engine.Input{Data: data}, claimed, size, lotOf(lot))
		if err != nil {
			t.Fatal(err)
		}
		var l struct {
			Known struct {
				Before, After []int32
				Draw          int
			}
		}
		if err := json.Unmarshal(piece, &l); err != nil {
			t.Fatal(err)
		}
		if l.Known.Draw != size || len(l.Known.Before)+size+len(l.Known.After) != 100 {
			t.Fatalf("%s", piece)
		}
		for i := range size {
			drawn[len(l.Known.Before)+i]++
		}
	}
	for i, n := range drawn {
		if n < lots/4*8/10 {
			t.Errorf("token %d is drawn again by %d of %d lots", i, n, lots)
		}
	}
}

// Known tokens are held to the same strictness as all else.
func TestKnownIsRefused(t *testing.T) {
	t.Parallel()
	in := open(t, "acme")
	for _, known := range []string{`{}`, `{"draw":0}`, `{"draw":-1}`, `{"draw":9}`, `{"draw":1,"before":[1,2,3,4,5,6,7,8]}`, `{"draw":1,"before":[2048]}`, `{"draw":1,"after":[-1]}`, `{"draw":1,"tokens":[1]}`, `[]`, `{"draw":1},"logprobs":1`, `{"draw":1},"regex":"a+"`} {
		line := `{"prompt":"x","max_tokens":8,"known":` + known + `}`
		if _, _, err := in.Run(t.Context(), engine.Input{Data: []byte(line)}); err == nil || !strings.Contains(err.Error(), "input refused") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// timed is how long a run takes, in seconds, by a tenant that has asked nothing yet:
// a checker has not the worker's cache.
func timed(b *testing.B, in engine.Instance, data []byte) float64 {
	b.Helper()
	i := in.(*instance)
	i.m.Tenant += "'"
	began := time.Now()
	answerAll(b, in, data, nil)
	return time.Since(began).Seconds()
}

func randomModel(b *testing.B) []byte {
	b.Helper()
	m, err := weights.Random(weights.Config{
		Arch: weights.Llama, Layers: 6, Dim: 288, FFN: 768, Heads: 9, KVHeads: 3, HeadDim: 32, Vocab: 32_000, Context: 512, NormEps: 1e-5,
		TiedEmbeddings: true, RoPE: weights.RoPE{Style: weights.Interleaved, Dim: 32, Base: 10_000},
	}, 1)
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	if err := m.Export(b.Context(), &out, quant.Q8_0); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// BenchmarkPiece is the cost of running a piece of an answer again, as a share of
// the work that is checked. The whole costs all of it.
func BenchmarkPiece(b *testing.B) {
	shapes := map[string]func() []byte{
		"coral":     func() []byte { return model(b) },
		"random15m": func() []byte { return randomModel(b) },
	}
	for _, name := range []string{"coral", "random15m"} {
		in := loadFile(b, shapes[name]())
		for _, tokens := range []int{64, 200} {
			data := fmt.Appendf(nil, `{"prompt":"Once upon a time there was","max_tokens":%d,"temperature":1,"seed":3}`, tokens)
			claimed := answerAll(b, in, data, nil)
			for _, size := range []int{16, 32, 64} {
				b.Run(fmt.Sprintf("%s/tokens=%d/piece=%d", name, tokens, size), func(b *testing.B) {
					var work, spent float64
					for i := range b.N {
						piece, err := Piece(engine.Input{Data: data}, claimed, size, lotOf(i))
						if err != nil {
							b.Fatal(err)
						}
						work += timed(b, in, data)
						spent += timed(b, in, piece)
					}
					b.ReportMetric(100*spent/work, "%ofwork")
				})
			}
		}
	}
}
