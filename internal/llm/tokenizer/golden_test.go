package tokenizer_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"atoll/internal/llm/gguf"
	"atoll/internal/llm/tokenizer"
)

// goldens are made by Hugging Face's tokenizers; see testdata/make.py.
var goldens = []string{"gpt2", "smollm", "llama-bpe", "qwen2", "spm-each", "spm-never", "spm-first"}

type goldenCase struct {
	Text    string
	IDs     []int32
	Whole   []int32
	Decoded string
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decodeJSON(t testing.TB, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(read(t, name), v); err != nil {
		t.Fatal(err)
	}
}

func fromHF(t testing.TB, name string) *tokenizer.Vocab {
	t.Helper()
	v, err := tokenizer.FromHF(tokenizer.HFFiles{Tokenizer: read(t, name+".json")})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newTokenizer(t testing.TB, v *tokenizer.Vocab) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.New(v)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// Hugging Face cuts special tokens out of every text, which is Options.Control.
func TestAsHuggingFace(t *testing.T) {
	t.Parallel()
	for _, name := range goldens {
		var cases []goldenCase
		decodeJSON(t, name+".cases.json", &cases)
		tok := newTokenizer(t, fromHF(t, name))
		for _, c := range cases {
			if got := tok.Encode(c.Text, tokenizer.Options{Control: true}); !slices.Equal(got, c.IDs) {
				t.Errorf("%s: %q:\n %v, want\n %v", name, c.Text, got, c.IDs)
			}
			if got := tok.Encode(c.Text, tokenizer.Options{Control: true, Whole: true}); !slices.Equal(got, c.Whole) {
				t.Errorf("%s: %q as a whole:\n %v, want\n %v", name, c.Text, got, c.Whole)
			}
			if got := tok.Decode(c.IDs); got != c.Decoded {
				t.Errorf("%s: %v:\n %q, want\n %q", name, c.IDs, got, c.Decoded)
			}
		}
	}
}

// A vocabulary survives the way through GGUF's metadata, and a second way changes
// nothing.
func TestThroughGGUF(t *testing.T) {
	t.Parallel()
	for _, name := range goldens {
		v := fromHF(t, name)
		v.Template = "{{ messages }}"
		meta := gguf.Meta{}
		v.Metadata(meta)
		back, err := tokenizer.FromGGUF(meta)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v.Model == tokenizer.BPE {
			for i := range v.Tokens { // scores mean nothing there and are not kept
				v.Tokens[i].Score = 0
			}
		}
		if len(v.Stop) == 0 {
			v.Stop, back.Stop = nil, append([]int32(nil), back.Stop...)
		}
		if !reflect.DeepEqual(back, v) {
			t.Errorf("%s came back as another", name)
		}
	}
}

// The ranks that are written for readers who know scores alone give the same
// tokens, on these texts, as the merges.
func TestScoresStandInForMerges(t *testing.T) {
	t.Parallel()
	v := fromHF(t, "spm-each")
	v.Merges = nil
	tok := newTokenizer(t, v)
	var cases []goldenCase
	decodeJSON(t, "spm-each.cases.json", &cases)
	for _, c := range cases {
		if got := tok.Encode(c.Text, tokenizer.Options{Control: true}); !slices.Equal(got, c.IDs) {
			t.Errorf("%q:\n %v, want\n %v", c.Text, got, c.IDs)
		}
	}
}

func TestAsSentencePiece(t *testing.T) {
	t.Parallel()
	var file struct {
		Tokens [][3]any
		Cases  []struct {
			Text    string
			IDs     []int32
			Decoded string
		}
	}
	decodeJSON(t, "sentencepiece.json", &file)
	v := &tokenizer.Vocab{Model: tokenizer.SPM, Unknown: 0, BOS: 1, EOS: 2, Pad: tokenizer.None, Prefix: tokenizer.EachPrefix}
	for _, x := range file.Tokens {
		v.Tokens = append(v.Tokens, tokenizer.Token{Text: x[0].(string), Score: float32(x[1].(float64)), Kind: tokenizer.Kind(x[2].(float64))})
	}
	tok := newTokenizer(t, v)
	for _, c := range file.Cases {
		if got := tok.Encode(c.Text, tokenizer.Options{}); !slices.Equal(got, c.IDs) {
			t.Errorf("%q:\n %v, want\n %v", c.Text, got, c.IDs)
		}
		if got := tok.Decode(c.IDs); got != c.Decoded && !strings.Contains(c.Text, "▁") {
			t.Errorf("%v:\n %q, want\n %q", c.IDs, got, c.Decoded)
		}
	}
}
