package corpus_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"atoll/internal/core"
	"atoll/internal/corpus"
	"atoll/internal/learn/text"
)

func jsonl(t testing.TB, examples []corpus.Example) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := corpus.WriteJSONL(&b, examples); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A generated corpus is part of tests, benchmarks and demonstrations elsewhere,
// so its bytes are fixed.
func TestGenerateGolden(t *testing.T) {
	t.Parallel()
	const want = "d84c75cf6e38"
	b := jsonl(t, corpus.Generate(1, 2000))
	if got := core.DigestOf(b).Short(); got != want {
		t.Errorf("digest %s, want %s; it begins\n%.400s", got, want, b)
	}
	if !bytes.HasPrefix(b, jsonl(t, corpus.Generate(1, 100))) {
		t.Error("the first 100 requests depend on how many are made")
	}
	if len(corpus.Generate(1, 0)) != 0 || len(corpus.Generate(1, -1)) != 0 {
		t.Error("none asked for, some given")
	}
}

func TestGenerateIsSound(t *testing.T) {
	t.Parallel()
	known := make(map[string]bool)
	for _, l := range corpus.Intents() {
		known[l] = true
	}
	if len(known) < 12 {
		t.Errorf("%d intents, want at least 12", len(known))
	}
	count := make(map[string]int)
	texts := make(map[string]bool)
	all := corpus.Generate(7, 5000)
	for _, x := range all {
		count[x.Label]++
		texts[x.Text] = true
		switch {
		case !known[x.Label]:
			t.Errorf("label %q is not listed", x.Label)
		case !utf8.ValidString(x.Text), strings.TrimSpace(x.Text) != x.Text, len(x.Text) < 8:
			t.Errorf("odd text %q", x.Text)
		case strings.ContainsAny(x.Text, "[]{}|"):
			t.Errorf("the grammar shows through: %q", x.Text)
		}
	}
	for l := range known {
		if n := count[l]; n < len(all)/50 || n > len(all)/5 {
			t.Errorf("label %s has %d of %d examples, want 2 to 20 %%", l, n, len(all))
		}
	}
	if len(texts) < len(all)*9/10 {
		t.Errorf("only %d of %d texts differ", len(texts), len(all))
	}
}

// A classifier must be good at the corpus but not perfect.
func TestGeneratedCorpusIsLearnableAndHard(t *testing.T) {
	t.Parallel()
	if underRace {
		t.Skip("training takes too long under the race detector; run without -race")
	}
	for seed := range uint64(3) {
		m, rep, err := text.Train(t.Context(), corpus.Generate(seed, 3000), text.Options{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Evaluate(corpus.Generate(seed+1000, 600))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("seed %d: holdout %s, fresh %s, certainty %s, majority %s, macro F1 %s, model %d bytes",
			seed, rep.Accuracy, got.Accuracy, got.Certainty, got.Majority, got.MacroF1, len(m.Marshal()))
		if got.Accuracy < 870_000 || got.Accuracy > 970_000 {
			t.Errorf("seed %d: accuracy %s, want 0.87 to 0.97", seed, got.Accuracy)
		}
		if got.Majority > 200_000 {
			t.Errorf("seed %d: the majority class has %s", seed, got.Majority)
		}
		if n := len(m.Marshal()); n > 2<<20 {
			t.Errorf("seed %d: the model has %d bytes", seed, n)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	two := []corpus.Example{{Text: "my card", Label: "card"}, {Text: "say \"hi\",\nbye", Label: "talk"}}
	for name, c := range map[string]struct{ name, in string }{
		"csv":               {"a.csv", "text,label\nmy card,card\n\"say \"\"hi\"\",\nbye\",talk\n"},
		"csv cr lf":         {"a.CSV", "text,label\r\nmy card,card\r\n\"say \"\"hi\"\",\r\nbye\",talk\r\n"},
		"csv bare cr":       {"a.csv", "text,label\rmy card,card\r\"say \"\"hi\"\",\rbye\",talk"},
		"csv bom":           {"a.csv", "\uFEFFtext,label\nmy card,card\n\"say \"\"hi\"\",\nbye\",talk"},
		"csv other columns": {"a.csv", "id, Category ,x,Message\n1,card,,my card\n2, talk ,,\"say \"\"hi\"\",\nbye\"\n"},
		"jsonl":             {"dir/a.jsonl", `{"text":"my card","label":"card"}` + "\n" + `{"label":"talk","text":"say \"hi\",\nbye"}`},
		"ndjson cr lf":      {"a.ndjson", `{"request":"my card","class":"card"}` + "\r\n\r\n" + `{"intents":"talk","n":1,"message":"say \"hi\",\nbye"}` + "\r\n"},
		"jsonl bom":         {"a.jsonl", "\uFEFF" + `{"text":"my card","label":"card"}` + "\n" + `{"text":"say \"hi\",\nbye","intent":" talk "}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, r := range map[string]io.Reader{
				"whole": strings.NewReader(c.in), "by byte": iotest.OneByteReader(strings.NewReader(c.in)),
			} {
				got, err := corpus.Read(r, c.name)
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if !reflect.DeepEqual(got, two) {
					t.Errorf("%s: %q, want %q", how, got, two)
				}
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", text.MaxText+1)
	for name, c := range map[string]struct{ name, in, says string }{
		"other ending":     {"a.xlsx", "x", `"a.xlsx"`},
		"no ending":        {"csv", "x", `"csv"`},
		"empty csv":        {"a.csv", "", "no header"},
		"empty jsonl":      {"a.jsonl", "\n\n", "no examples"},
		"header only":      {"a.csv", "text,label\n", "no examples"},
		"no label column":  {"a.csv", "text,x\na,b\n", "line 1: no column label"},
		"two labels":       {"a.csv", "text,label,class\na,b,c\n", "line 1: columns"},
		"many columns":     {"a.csv", strings.Repeat("a,", 300) + "\n", "line 1: 301 columns"},
		"short row":        {"a.csv", "text,label\na,b\nc\n", "line 3"},
		"after quoted end": {"a.csv", "text,label\n\"a\n\nb\",c\n,d\n", "line 5: the text is empty"},
		"open quote":       {"a.csv", "text,label\n\"a,b\n", "line"},
		"quote inside":     {"a.csv", "text,label\na\"b,c\n", "line 2"},
		"csv bad utf-8":    {"a.csv", "text,label\n\xff,c\n", "line 2: the text is not UTF-8"},
		"empty label":      {"a.csv", "text,label\na,b\nc, \n", "line 3: label"},
		"label of newline": {"a.csv", "text,label\na,\"b\nc\"\n", "line 2: label"},
		"long text":        {"a.csv", "text,label\n" + long + ",a\n", "line 2: the text has 65537 bytes"},
		"json cut":         {"a.jsonl", `{"text":"a","label":"b"}` + "\n" + `{"text":`, "line 2"},
		"json array":       {"a.jsonl", `["a","b"]`, "line 1"},
		"json number":      {"a.jsonl", `{"text":"a","label":3}`, "line 1"},
		"json twice":       {"a.jsonl", `{"text":"a","text":"c","label":"b"}`, "line 1"},
		"json both":        {"a.jsonl", `{"text":"a","label":"b","class":"c"}`, `line 1: both "label" and "class"`},
		"json no text":     {"a.jsonl", "\n" + `{"label":"b"}`, "line 2: no field text"},
		"json bad utf-8":   {"a.jsonl", "{\"text\":\"\xff\",\"label\":\"b\"}", "line 1"},
		"json long line":   {"a.jsonl", "\n" + strings.Repeat(" ", corpus.MaxLine+1), "line 2: over"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := corpus.Read(strings.NewReader(c.in), c.name)
			if !errors.Is(err, corpus.ErrFormat) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%d examples, error %v, want one that is %q and says %q", len(got), err, corpus.ErrFormat, c.says)
			}
		})
	}
}

// endless never ends, as a file behind a pipe might.
type endless struct{ line string }

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.line)
	}
	return n, nil
}

func TestReadIsBounded(t *testing.T) {
	t.Parallel()
	_, err := corpus.Read(endless{strings.Repeat(" ", 10_000) + "\n"}, "a.jsonl")
	if !errors.Is(err, corpus.ErrFormat) || !strings.Contains(err.Error(), fmt.Sprint(corpus.MaxFile)) {
		t.Errorf("error %v, want one that names the limit of %d bytes", err, corpus.MaxFile)
	}
	broken := errors.New("disk on fire")
	if _, err := corpus.Read(iotest.ErrReader(broken), "a.jsonl"); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestWriteThenRead(t *testing.T) {
	t.Parallel()
	want := corpus.Generate(5, 300)
	got, err := corpus.Read(bytes.NewReader(jsonl(t, want)), "x.jsonl")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%d examples, %v; not the %d that were written", len(got), err, len(want))
	}
}

// FuzzRead reads anything as both formats: it is refused as such, or gives
// examples that survive being written and read again.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"text,label\na,b\n", "\uFEFFlabel,text\r\n\"x\r\ny\",z\r\n", "text,label\ra,b\r", "text,category\n\"a\"\"b\",c", "text,label,label\n1,2,3",
		`{"text":"a","label":"b"}`, "\n{\"message\":\"a\\u0000\",\"intents\":\"b\"}\n", `{"text":"\ud83d\ude00","class":"ü"}`, "{}", "[]", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"x.csv", "x.jsonl"} {
			got, err := corpus.Read(bytes.NewReader(data), name)
			if err != nil {
				if !errors.Is(err, corpus.ErrFormat) {
					t.Fatalf("%s: error of no known kind: %v", name, err)
				}
				continue
			}
			again, err := corpus.Read(bytes.NewReader(jsonl(t, got)), "y.jsonl")
			if err != nil || !reflect.DeepEqual(again, got) {
				t.Fatalf("%s: %q became %q, %v", name, got, again, err)
			}
		}
	})
}
