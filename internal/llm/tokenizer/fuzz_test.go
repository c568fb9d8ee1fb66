package tokenizer_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/tokenizer"
)

// What a parser accepts, New takes or refuses with ErrVocab, and then any text goes
// through.
func through(t *testing.T, v *tokenizer.Vocab, err error) {
	if err != nil {
		if !errors.Is(err, tokenizer.ErrVocab) {
			t.Fatal(err)
		}
		return
	}
	tok, err := tokenizer.New(v)
	if err != nil {
		if !errors.Is(err, tokenizer.ErrVocab) {
			t.Fatal(err)
		}
		return
	}
	tok.Decode(tok.Encode("Once upon a <|end|> time\n", tokenizer.Options{Whole: true, Control: true}))
}

func FuzzFromHF(f *testing.F) {
	f.Add([]byte(`{"model":{"type":"BPE","byte_fallback":true,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},`+
		`"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},"added_tokens":[{"id":3,"content":"</s>","special":true}]}`), []byte(`{"eos_token":"</s>"}`), []byte(`{"eos_token_id":[1]}`))
	f.Fuzz(func(t *testing.T, model, config, generation []byte) {
		v, err := tokenizer.FromHF(tokenizer.HFFiles{Tokenizer: model, Config: config, Generation: generation})
		through(t, v, err)
	})
}

func FuzzFromLlama2c(f *testing.F) {
	f.Add(llmtest.Tokens(), llmtest.CheckpointVocab)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		v, err := tokenizer.FromLlama2c(bytes.NewReader(b), n)
		through(t, v, err)
	})
}

func FuzzEncode(f *testing.F) {
	var toks []*tokenizer.Tokenizer
	for _, name := range goldens {
		toks = append(toks, newTokenizer(f, fromHF(f, name)))
	}
	f.Add("We'll see <|end|>  12345 \r\n\n über 你好\xff")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "<tool>") {
			return // cuts the text into parts, each with a prefix or brought to NFC by itself
		}
		for i, tok := range toks {
			valid := strings.ToValidUTF8(text, "\uFFFD")
			if goldens[i] == "qwen2" {
				valid = norm.NFC.String(valid)
			}
			_, want := withPrefix(tok.Vocab(), valid)
			ids := tok.Encode(text, tokenizer.Options{})
			if got := tok.Decode(ids); got != want {
				t.Fatalf("%s: %q became %v and came back as %q", goldens[i], text, ids, got)
			}
		}
	})
}
