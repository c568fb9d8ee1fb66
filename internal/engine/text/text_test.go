package text_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"atoll/internal/core"
	"atoll/internal/corpus"
	"atoll/internal/engine"
	"atoll/internal/engine/conformance"
	"atoll/internal/engine/jsonl"
	"atoll/internal/engine/text"
	learn "atoll/internal/learn/text"
)

// modelFile is trained once for all tests; nothing changes it.
var modelFile = sync.OnceValue(func() []byte {
	m, _, err := learn.Train(context.Background(), corpus.Generate(1, 600), learn.Options{Epochs: 6}, nil)
	if err != nil {
		panic(err)
	}
	return m.Marshal()
})

func newEngine(testing.TB) engine.Engine { return text.New() }

func load(t testing.TB) engine.Instance {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(path, modelFile(), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := text.New().Load(t.Context(), engine.Model{Path: path, Digest: core.DigestOf(modelFile())})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func lines(t testing.TB, examples []corpus.Example) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := corpus.WriteJSONL(&b, examples); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestConformance(t *testing.T) {
	t.Parallel()
	otherBits := bytes.Clone(modelFile())
	otherBits[8]++ // the version
	conformance.Run(t, conformance.Case{
		New:          newEngine,
		GoodModel:    modelFile(),
		GoodInput:    lines(t, corpus.Generate(2, 50)),
		OtherInput:   lines(t, corpus.Generate(3, 50)),
		BadInput:     []byte("{\"text\":\"fine\"}\n{\"text\":7}\n"),
		HugeInput:    bytes.Repeat([]byte("{\"text\":\"my card is gone\"}\n"), text.MaxInput/26+1),
		SlowInput:    bytes.Repeat([]byte("{\"text\":\"my card was swallowed by the machine and nobody helps me\"}\n"), text.MaxInput/70),
		Params:       map[string]string{"top": "3", "reasons": "5"},
		ChecksDigest: true,
		BadModels:    map[string][]byte{"next version": otherBits, "longer": append(bytes.Clone(modelFile()), 0)},
	})
}

// The model and the bytes of the answers were made on amd64. They must be the
// same wherever this test runs, or nodes could not check one another.
func TestGolden(t *testing.T) {
	t.Parallel()
	const wantModel, wantOutput = "8403ce88f095", "53aff4d434be"
	if got := core.DigestOf(modelFile()).Short(); got != wantModel {
		t.Errorf("model digest %s, want %s", got, wantModel)
	}
	out, _, err := load(t).Run(t.Context(), engine.Input{
		Data:   lines(t, corpus.Generate(2, 1000)),
		Params: map[string]string{"top": "20", "reasons": "20"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := core.DigestOf(out.Data).Short(); got != wantOutput {
		t.Errorf("output digest %s, want %s; it begins\n%.300s", got, wantOutput, out.Data)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	const question = `{"text":"The ATM swallowed my card","label":"ignored"`
	for name, c := range map[string]struct {
		in     string
		params map[string]string
		want   string
	}{
		"object":        {question + "}\n", nil, answer("")},
		"string":        {`"The ATM swallowed my card"`, nil, answer("")},
		"no last end":   {question + "}", nil, answer("")},
		"blank lines":   {"\n\r\n" + question + "}\n  \n\n", nil, answer("")},
		"cr lf and bom": {"\uFEFF" + question + "}\r\n", nil, answer("")},
		"string id":     {question + `,"id":"a\n<b>"}`, nil, answer(`"id":"a\n<b>",`)},
		"number id":     {question + `,"id": -7.50 }`, nil, answer(`"id":-7.50,`)},
		"no reasons":    {question + "}", map[string]string{"reasons": "0"}, `{"label":"card_swallowed","p":"0.9970"}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, _, err := load(t).Run(t.Context(), engine.Input{Data: []byte(c.in), Params: c.params})
			if err != nil {
				t.Fatal(err)
			}
			if string(out.Data) != c.want {
				t.Errorf("answer\n%swant\n%s", out.Data, c.want)
			}
		})
	}
}

func answer(id string) string {
	return "{" + id + `"label":"card_swallowed","p":"0.9970","reasons":[{"feature":"swallowed","weight":"4.553"},{"feature":"atm","weight":"1.943"},{"feature":"the","weight":"0.388"}]}` + "\n"
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const fine = `{"text":"fine"}` + "\n"
	for name, c := range map[string]struct {
		in     string
		params map[string]string
		kind   error
		says   string
	}{
		"empty":          {"", nil, engine.ErrInput, "no line"},
		"blank":          {"\n\r\n \n", nil, engine.ErrInput, "no line"},
		"no json":        {fine + "\n\nhello", nil, engine.ErrInput, "line 4"},
		"cut":            {fine + fine + `{"text":"hel`, nil, engine.ErrInput, "line 3"},
		"array":          {`["text"]`, nil, engine.ErrInput, "no JSON object or string"},
		"no text":        {`{"txt":"a"}`, nil, engine.ErrInput, `no "text"`},
		"null text":      {`{"text":null}`, nil, engine.ErrInput, `no "text"`},
		"number text":    {`{"text":3}`, nil, engine.ErrInput, `"text" is a JSON number`},
		"text twice":     {`{"text":"a","text":"b"}`, nil, engine.ErrInput, "line 1"},
		"two values":     {`{"text":"a"} {"text":"b"}`, nil, engine.ErrInput, "byte 14"},
		"bad utf-8":      {"{\"text\":\"\xff\"}", nil, engine.ErrInput, "line 1"},
		"lone surrogate": {`{"text":"\ud800"}`, nil, engine.ErrInput, "line 1"},
		"id is object":   {`{"text":"a","id":{}}`, nil, engine.ErrInput, `"id"`},
		"id is null":     {`{"text":"a","id":null}`, nil, engine.ErrInput, `"id"`},
		"long id":        {`{"text":"a","id":"` + strings.Repeat("x", jsonl.MaxID) + `"}`, nil, engine.ErrInput, `"id"`},
		"long text":      {`"` + strings.Repeat("x ", learn.MaxText/2) + `x"`, nil, engine.ErrInput, "over the limit"},
		"long line":      {`"` + strings.Repeat("x", text.MaxLine) + `"`, nil, engine.ErrTooLarge, "line 1"},
		"unknown param":  {fine, map[string]string{"temperature": "1"}, engine.ErrInput, "temperature"},
		"top 0":          {fine, map[string]string{"top": "0"}, engine.ErrInput, "top"},
		"top NaN":        {fine, map[string]string{"top": "NaN"}, engine.ErrInput, "top"},
		"many reasons":   {fine, map[string]string{"reasons": "21"}, engine.ErrInput, "reasons"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t).Run(t.Context(), engine.Input{Data: []byte(c.in), Params: c.params})
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that is %q and says %q", err, c.kind, c.says)
			}
		})
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	in := load(t)
	data := lines(t, corpus.Generate(2, 100))
	base := int64(len(modelFile()) + len(data))
	for _, extra := range []int64{-1, 0, 100} {
		_, _, err := in.Run(t.Context(), engine.Input{Data: data, Limits: engine.Limits{Memory: base + extra}})
		if !errors.Is(err, engine.ErrTooLarge) {
			t.Errorf("memory limit %d over what model and input take: error %v, want %v", extra, err, engine.ErrTooLarge)
		}
	}
	if _, _, err := in.Run(t.Context(), engine.Input{Data: data, Limits: engine.Limits{Memory: base + 1<<20}}); err != nil {
		t.Error(err)
	}
}

// FuzzRun feeds a good model any input: it is refused, or each line is answered
// by one line of JSON, twice the same.
func FuzzRun(f *testing.F) {
	for _, seed := range []string{
		`{"text":"my card is gone","id":1}` + "\n", `"a"` + "\r\n" + `"b"`, "\uFEFF\"x\"", "{}", "\n", "", "\"\"\n ", `{"text":"\u0000 ﷺ ＡＢＣ 😀😀"}`, `{"text":"a","id":"\ud83d\ude00"}`,
	} {
		f.Add([]byte(seed))
	}
	in := load(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		input := engine.Input{Data: data, Params: map[string]string{"top": "2"}}
		out, _, err := in.Run(t.Context(), input)
		if err != nil {
			if !errors.Is(err, engine.ErrInput) && !errors.Is(err, engine.ErrTooLarge) {
				t.Fatalf("error of no known kind: %v", err)
			}
			return
		}
		again, _, err := in.Run(t.Context(), input)
		if err != nil || !bytes.Equal(out.Data, again.Data) {
			t.Fatalf("a second run gives %v:\n%s\n%s", err, out.Data, again.Data)
		}
		got := bytes.Split(bytes.TrimSuffix(out.Data, []byte("\n")), []byte("\n"))
		want := 0
		for range jsonl.Lines(data) {
			want++
		}
		if len(got) != want {
			t.Fatalf("%d lines for %d", len(got), want)
		}
		for _, l := range got {
			if !json.Valid(l) {
				t.Fatalf("no JSON: %s", l)
			}
		}
	})
}

func BenchmarkRun(b *testing.B) {
	in := load(b)
	const n = 1000
	data := lines(b, corpus.Generate(2, n))
	for _, reasons := range []string{"0", "3"} {
		b.Run(fmt.Sprintf("reasons=%s", reasons), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := in.Run(b.Context(), engine.Input{Data: data, Params: map[string]string{"reasons": reasons}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "texts/s")
		})
	}
}
