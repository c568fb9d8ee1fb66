package tokenizer_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"atoll/internal/llm/gguf"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/tokenizer"
)

// llama2c is a made-up vocabulary in llama2.c's format.
func llama2c(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	return fromLlama2c(t, llmtest.Tokens(), llmtest.CheckpointVocab)
}

func fromLlama2c(t testing.TB, b []byte, n int) *tokenizer.Tokenizer {
	t.Helper()
	v, err := tokenizer.FromLlama2c(bytes.NewReader(b), n)
	if err != nil {
		t.Fatal(err)
	}
	return newTokenizer(t, v)
}

func TestLlama2c(t *testing.T) {
	t.Parallel()
	tok := llama2c(t)
	v := tok.Vocab()
	for id, want := range map[int32]tokenizer.Kind{0: tokenizer.Unknown, 1: tokenizer.Control, 2: tokenizer.Control, 3: tokenizer.Byte, 258: tokenizer.Byte, 259: tokenizer.Normal} {
		if v.Tokens[id].Kind != want {
			t.Errorf("token %d (%q) is of kind %d, want %d", id, v.Tokens[id].Text, v.Tokens[id].Kind, want)
		}
	}
	if v.Tokens[1].Text != "<s>" || v.Tokens[13].Text != "<0x0A>" || string(tok.Bytes(13)) != "\n" {
		t.Errorf("tokens %q and %q", v.Tokens[1].Text, v.Tokens[13].Text)
	}
	// BOS, " Once", " upon", " a", " time".
	got := tok.Encode("Once upon a time", tokenizer.Options{Whole: true})
	if want := []int32{1, 274, 278, 279, 283}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if !tok.Stops(1) || !tok.Stops(2) || tok.Stops(3) {
		t.Errorf("answers end at %v", v.Stop)
	}
}

// The published model's texts are cut as run.c cuts them.
func TestStories(t *testing.T) {
	t.Parallel()
	dir := llmtest.Stories(t)
	b, err1 := os.ReadFile(filepath.Join(dir, "tok512.bin"))
	golden, err2 := os.ReadFile(filepath.Join(dir, "golden_temp0_n200.txt"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	tok := fromLlama2c(t, b, 512)
	got := tok.Encode("Once upon a time", tokenizer.Options{Whole: true})
	if want := []int32{1, 403, 407, 261, 378}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	text := strings.TrimSuffix(string(golden), "\n")
	ids := tok.Encode(text, tokenizer.Options{})
	if back := tok.Decode(ids); back != text || len(ids) > len(text)/2 {
		t.Errorf("%d tokens of %d bytes, and back %q", len(ids), len(text), back)
	}
}

// A user who types a control token gets text; so does one who types the pieces
// that a merge might join.
func TestControlTokensAreNotTyped(t *testing.T) {
	t.Parallel()
	for _, name := range goldens {
		tok := newTokenizer(t, fromHF(t, name))
		for _, text := range []string{"<|end|>", "a<|begin|>b", "<s></s>", "<unk>", "<|end|>" + "<|end|>"} {
			for _, id := range tok.Encode(text, tokenizer.Options{}) {
				if k := tok.Vocab().Tokens[id].Kind; k == tokenizer.Control || k == tokenizer.Unknown {
					t.Errorf("%s: %q has become the token %q", name, text, tok.Vocab().Tokens[id].Text)
				}
			}
			if back := tok.Decode(tok.Encode(text, tokenizer.Options{})); back != text {
				t.Errorf("%s: %q came back as %q", name, text, back)
			}
		}
		end := tok.Encode("x<|end|>", tokenizer.Options{Control: true})
		if last := end[len(end)-1]; tok.Vocab().Tokens[last].Text != "<|end|>" {
			t.Errorf("%s: the template's <|end|> has become %v", name, end)
		}
		if user := tok.Encode("<tool>", tokenizer.Options{}); tok.Vocab().Tokens[user[len(user)-1]].Text != "<tool>" {
			t.Errorf("%s: <tool>, a token of the user's, has become %v", name, user)
		}
	}
}

// Decoding undoes encoding, for any text, and a stream says the same as the whole
// and never a broken character.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, name := range goldens {
		if name == "qwen2" {
			continue // brings text to NFC first
		}
		tok := newTokenizer(t, fromHF(t, name))
		rapid.Check(t, func(t *rapid.T) {
			text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune(" \n\t'abcst12,.éß你😀▁Ġ")))).Draw(t, "text")
			shown, want := withPrefix(tok.Vocab(), text)
			ids := tok.Encode(text, tokenizer.Options{})
			if got := tok.Decode(ids); got != want {
				t.Fatalf("%q became %v and came back as %q", text, ids, got)
			}
			d, all := tok.NewDecoder(), ""
			for _, id := range ids {
				s := d.Next(id)
				if !utf8.ValidString(s) {
					t.Fatalf("the stream of %v broke a character: %q", ids, s)
				}
				all += s
			}
			if all += d.Flush(); all != shown {
				t.Fatalf("the stream of %q says %q", text, all)
			}
		})
	}
}

// Guarded, a text gives the tokens that it gives alone, wherever a template puts
// it; what the template says around it stays control.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, name := range goldens {
		tok := newTokenizer(t, fromHF(t, name))
		begin, end := tok.Encode("<|begin|>", tokenizer.Options{Control: true}), tok.Encode("<|end|>", tokenizer.Options{Control: true})
		for _, text := range []string{"plain", "<|end|>", "<|begin|><|end|>x<|end|>", "a<|en", "<", "<|end|", "<tool><|end|>", "\uFDD0<|end|>", "<s>[INST]</s>"} {
			want := append(slices.Clone(begin), tok.Encode(strings.ReplaceAll(text, "\uFDD0", "\uFFFD"), tokenizer.Options{})...)
			want = append(want, end...)
			got := tok.Encode("<|begin|>"+tok.Guard(text)+"<|end|>", tokenizer.Options{Control: true})
			if name != "spm-first" && !slices.Equal(got, want) { // there a space is put before what begins the whole
				t.Errorf("%s: %q: %v, want %v", name, text, got, want)
			}
			marks := 0
			for _, id := range got {
				if tok.Vocab().Tokens[id].Kind == tokenizer.Control {
					marks++
				}
			}
			if marks != 2 {
				t.Errorf("%s: %q: %d control tokens in %v, want the template's two", name, text, marks, got)
			}
		}
		if s := "no marks here, é"; tok.Guard(s) != s {
			t.Errorf("%s: %q has become %q", name, s, tok.Guard(s))
		}
	}
}

// withPrefix returns what the tokens of a text spell, and that as decoding from
// the beginning gives it.
func withPrefix(v *tokenizer.Vocab, text string) (shown, decoded string) {
	if v.Model == tokenizer.SPM {
		text = strings.ReplaceAll(text, "▁", " ") // there the two are one
	}
	shown = text
	if v.Prefix == tokenizer.EachPrefix && text != "" || v.Prefix == tokenizer.FirstPrefix && text != "" && text[0] != ' ' {
		shown = " " + text
	}
	if v.Prefix == tokenizer.NoPrefix {
		return shown, shown
	}
	return shown, strings.TrimPrefix(shown, " ")
}

func TestDecoderHoldsBackHalfCharacters(t *testing.T) {
	t.Parallel()
	tok := newTokenizer(t, fromHF(t, "gpt2"))
	byteToken := func(b byte) int32 {
		for id := range tok.Vocab().Tokens {
			if got := tok.Bytes(int32(id)); len(got) == 1 && got[0] == b {
				return int32(id)
			}
		}
		t.Fatalf("no token for %#x", b)
		return 0
	}
	for _, c := range []struct {
		bytes string
		want  []string // after each byte, then at the end
	}{
		{"é", []string{"", "é", ""}},
		{"😀", []string{"", "", "", "😀", ""}},
		{"\xf0\x9fa", []string{"", "", "\uFFFDa", ""}},
		{"\xff!", []string{"\uFFFD", "!", ""}},
		{"\xe4\xbd", []string{"", "", "\uFFFD"}},
		{"\x80", []string{"\uFFFD", ""}},
	} {
		d := tok.NewDecoder()
		var got []string
		for i := range len(c.bytes) {
			got = append(got, d.Next(byteToken(c.bytes[i])))
		}
		if got = append(got, d.Flush()); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.bytes, got, c.want)
		}
	}
	d := tok.NewDecoder()
	if s := d.Next(-1) + d.Next(1<<30); s != "" {
		t.Errorf("ids out of range say %q", s)
	}
	end := tok.Encode("<|end|>", tokenizer.Options{Control: true})[0]
	if s := d.Next(end); s != "" {
		t.Errorf("a control token says %q", s)
	}
	if d.Control = true; d.Next(end) != "<|end|>" {
		t.Error("a control token does not show although it should")
	}
}

// A text of one letter is the worst for a joiner that looks at all pairs again and
// again.
func TestLongCutsAreCheap(t *testing.T) {
	t.Parallel()
	tok := newTokenizer(t, fromHF(t, "gpt2"))
	text := strings.Repeat("ab", 1<<18)
	if got := tok.Decode(tok.Encode(text, tokenizer.Options{})); got != text {
		t.Error("half a megabyte of letters came back as another text")
	}
}

// bpe is a byte-level vocabulary of the 256 bytes and the tokens given.
func bpe(more ...string) *tokenizer.Vocab {
	v := &tokenizer.Vocab{Model: tokenizer.BPE, Pre: "gpt-2", BOS: tokenizer.None, EOS: tokenizer.None, Unknown: tokenizer.None, Pad: tokenizer.None}
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if b < '!' || b > '~' && b < 0xA1 || b == 0xAD {
			r, next = next, next+1
		}
		v.Tokens = append(v.Tokens, tokenizer.Token{Text: string(r), Kind: tokenizer.Normal})
	}
	for _, s := range more {
		v.Tokens = append(v.Tokens, tokenizer.Token{Text: s, Kind: tokenizer.Normal})
	}
	return v
}

func TestBadVocabularies(t *testing.T) {
	t.Parallel()
	if _, err := tokenizer.New(bpe()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tokenizer.Vocab){
		"no tokens":                    func(v *tokenizer.Vocab) { v.Tokens = nil },
		"an unknown model":             func(v *tokenizer.Vocab) { v.Model = "bert" },
		"an unknown pre-tokenizer":     func(v *tokenizer.Vocab) { v.Pre = "tekken" },
		"a prefix to bytes":            func(v *tokenizer.Vocab) { v.Prefix = tokenizer.EachPrefix },
		"an empty token":               func(v *tokenizer.Vocab) { v.Tokens[9].Text = "" },
		"a token twice":                func(v *tokenizer.Vocab) { v.Tokens[256].Text = "a" },
		"a very long token":            func(v *tokenizer.Vocab) { v.Tokens[256].Text = strings.Repeat("a", 5000) },
		"a kind that there is not":     func(v *tokenizer.Vocab) { v.Tokens[256].Kind = 7 },
		"a byte less":                  func(v *tokenizer.Vocab) { v.Tokens['a'].Text = "aa" },
		"a byte that is control":       func(v *tokenizer.Vocab) { v.Tokens['a'].Kind = tokenizer.Control },
		"an end that is no token":      func(v *tokenizer.Vocab) { v.EOS = 9999 },
		"a beginning below none":       func(v *tokenizer.Vocab) { v.BOS = -2 },
		"a beginning without a token":  func(v *tokenizer.Vocab) { v.AddBOS = true },
		"a stop that is no token":      func(v *tokenizer.Vocab) { v.Stop = []int32{300} },
		"stops out of order":           func(v *tokenizer.Vocab) { v.Stop = []int32{2, 1} },
		"a merge of no token":          func(v *tokenizer.Vocab) { v.Merges = []tokenizer.Merge{{Left: 'a', Right: 1000}} },
		"a merge into no token":        func(v *tokenizer.Vocab) { v.Merges = []tokenizer.Merge{{Left: 'b', Right: 'a'}} },
		"a merge twice":                func(v *tokenizer.Vocab) { v.Merges = append(v.Merges, v.Merges[0]) },
		"a merge that makes a control": func(v *tokenizer.Vocab) { v.Tokens[256].Kind = tokenizer.Control },
		"a template without end":       func(v *tokenizer.Vocab) { v.Template = strings.Repeat("x", 1<<19) },
	} {
		v := bpe("ab")
		v.Merges = []tokenizer.Merge{{Left: 'a', Right: 'b'}}
		if change(v); name == "a merge that makes a control" && v.Tokens[256].Text != "ab" {
			t.Fatal("the test's own vocabulary is not what it thinks")
		}
		if _, err := tokenizer.New(v); !errors.Is(err, tokenizer.ErrVocab) {
			t.Errorf("%s: %v, want ErrVocab", name, err)
		}
	}
	spm := llama2c(t).Vocab()
	broken := *spm
	broken.Tokens = slices.Clone(spm.Tokens)
	broken.Tokens[20].Text = "<0xZZ>"
	if _, err := tokenizer.New(&broken); !errors.Is(err, tokenizer.ErrVocab) {
		t.Errorf("SPM without a byte: %v", err)
	}
}

func TestBadLlama2c(t *testing.T) {
	t.Parallel()
	const n = llmtest.CheckpointVocab
	b := llmtest.Tokens()
	huge := bytes.Clone(b)
	copy(huge[8:], []byte{0xFF, 0xFF, 0xFF, 0x7F})
	for name, c := range map[string]struct {
		b []byte
		n int
	}{
		"empty": {nil, n}, "cut in a token": {b[:len(b)-1], n}, "cut between": {b[:4], n}, "too few tokens": {b, n + 1}, "too many": {b, n - 1},
		"no room for bytes": {b, 100}, "below 0": {b, -5}, "a long token": {huge, n}, "a NaN": {append(append(bytes.Clone(b[:4]), 0, 0, 0xC0, 0x7F), b[8:]...), n},
	} {
		if _, err := tokenizer.FromLlama2c(bytes.NewReader(c.b), c.n); !errors.Is(err, tokenizer.ErrVocab) {
			t.Errorf("%s: %v, want ErrVocab", name, err)
		}
	}
}

func TestBadHuggingFace(t *testing.T) {
	t.Parallel()
	good := string(read(t, "llama-bpe.json"))
	spm := string(read(t, "spm-each.json"))
	for _, c := range []struct{ name, from, old, new, want string }{
		{"no JSON", "{", "", "", "tokenizer.json"},
		{"another model", good, `"type":"BPE"`, `"type":"WordPiece"`, "WordPiece"},
		{"dropout", good, `"dropout":null`, `"dropout":0.1`, "dropout"},
		{"a suffix", good, `"end_of_word_suffix":null`, `"end_of_word_suffix":"</w>"`, "end_of_word_suffix"},
		{"another pattern", good, `\\p{N}{1,3}`, `\\p{N}{1,4}`, "pre_tokenizer"},
		{"merges that count", good, `"ignore_merges":true`, `"ignore_merges":false`, "ignore_merges"},
		{"a normalizer", good, `"normalizer":null`, `"normalizer":{"type":"Lowercase"}`, "Lowercase"},
		{"a post-processor", good, `"type":"TemplateProcessing"`, `"type":"Bert"`, "Bert"},
		{"a token that strips", good, `"lstrip":false`, `"lstrip":true`, "strips"},
		{"an id twice", good, `"\"":1,`, `"\"":2,`, "share the id 2"},
		{"an id below 0", good, `"\"":1,`, `"\"":-1,`, "-1"},
		{"a huge id", good, `"\"":1,`, `"\"":1048576,`, "1048576"},
		{"spaces otherwise", spm, `"type":"Prepend"`, `"type":"NFKC"`, "spaces"},
		{"an unknown that is no token", spm, `"unk_token":"<unk>"`, `"unk_token":"<none>"`, "<none>"},
		{"no merges", spm[:strings.Index(spm, `"merges"`)] + `"merges":[]}}`, "", "", "merges"},
		{"a merge of three", spm[:strings.Index(spm, `"merges"`)] + `"merges":["a b c"]}}`, "", "", "merge 0"},
		{"a merge of no tokens", spm[:strings.Index(spm, `"merges"`)] + `"merges":[["a","§§"]]}}`, "", "", "merge 0"},
		{"a merge that is a number", spm[:strings.Index(spm, `"merges"`)] + `"merges":[1]}}`, "", "", "merge 0"},
	} {
		text := strings.Replace(c.from, c.old, c.new, 1)
		if c.old != "" && text == c.from {
			t.Errorf("%s: the test changes nothing", c.name)
		}
		_, err := tokenizer.FromHF(tokenizer.HFFiles{Tokenizer: []byte(text)})
		if !errors.Is(err, tokenizer.ErrVocab) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v; want ErrVocab and %q", c.name, err, c.want)
		}
	}
	for _, c := range []struct{ config, generation, want string }{
		{`{`, ``, "tokenizer_config.json"},
		{`{"eos_token":"<none>"}`, ``, "eos_token"},
		{`{"eos_token":7}`, ``, "eos_token"},
		{`{"chat_template":7}`, ``, "chat_template"},
		{``, `{"eos_token_id":"x"}`, "eos_token_id"},
		{``, `{"eos_token_id":99999}`, "99999"},
	} {
		files := tokenizer.HFFiles{Tokenizer: []byte(good)}
		if c.config != "" {
			files.Config = []byte(c.config)
		}
		if c.generation != "" {
			files.Generation = []byte(c.generation)
		}
		if _, err := tokenizer.FromHF(files); !errors.Is(err, tokenizer.ErrVocab) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s%s: %v; want ErrVocab and %q", c.config, c.generation, err, c.want)
		}
	}
}

func TestHuggingFaceSettings(t *testing.T) {
	t.Parallel()
	v, err := tokenizer.FromHF(tokenizer.HFFiles{
		Tokenizer:  read(t, "llama-bpe.json"),
		Config:     []byte(`{"eos_token":{"content":"<|end|>"},"pad_token":"<tool>","chat_template":[{"name":"x","template":"no"},{"name":"default","template":"yes"}]}`),
		Generation: []byte(`{"eos_token_id":[5,3]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	end := int32(slices.IndexFunc(v.Tokens, func(x tokenizer.Token) bool { return x.Text == "<|end|>" }))
	if v.EOS != end || v.Pad == tokenizer.None || v.Template != "yes" || !slices.Equal(v.Stop, []int32{3, 5, end}) {
		t.Errorf("EOS %d, pad %d, template %q, stops %v", v.EOS, v.Pad, v.Template, v.Stop)
	}
}

func TestBadMetadata(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(gguf.Meta){
		"no model":           func(m gguf.Meta) { delete(m, "tokenizer.ggml.model") },
		"no pre-tokenizer":   func(m gguf.Meta) { delete(m, "tokenizer.ggml.pre") },
		"no tokens":          func(m gguf.Meta) { delete(m, "tokenizer.ggml.tokens") },
		"no merges":          func(m gguf.Meta) { delete(m, "tokenizer.ggml.merges") },
		"kinds too few":      func(m gguf.Meta) { m["tokenizer.ggml.token_type"] = []int32{1} },
		"a merge of one":     func(m gguf.Meta) { m["tokenizer.ggml.merges"] = []string{"a"} },
		"a merge of no such": func(m gguf.Meta) { m["tokenizer.ggml.merges"] = []string{"a §"} },
		"an id over all":     func(m gguf.Meta) { m["tokenizer.ggml.eos_token_id"] = uint32(1 << 31) },
		"a stop over all":    func(m gguf.Meta) { m["atoll.tokenizer.stop_token_ids"] = []int32{1 << 30} },
		"a prefix to bytes":  func(m gguf.Meta) { m["tokenizer.ggml.add_space_prefix"] = true },
	} {
		meta := gguf.Meta{}
		fromHF(t, "gpt2").Metadata(meta)
		change(meta)
		if _, err := tokenizer.FromGGUF(meta); !errors.Is(err, tokenizer.ErrVocab) {
			t.Errorf("%s: %v, want ErrVocab", name, err)
		}
	}
}
