package tokenizer

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Model is a way of cutting text; see the package comment.
type Model string

// The models, by the names that GGUF has for them.
const (
	BPE Model = "gpt2"
	SPM Model = "llama"
)

// Kind says what a token is. Its values are those of GGUF.
type Kind int32

// The kinds of tokens.
const (
	Normal  Kind = 1
	Unknown Kind = 2 // stands for what cannot be said otherwise
	Control Kind = 3 // a mark such as the end of a turn, never text
	User    Kind = 4 // text that is always one token
	Unused  Kind = 5
	Byte    Kind = 6 // "<0x0A>": one byte (SPM)
)

// Token is an entry of a vocabulary.
type Token struct {
	Text  string // as the file spells it, with ▁ or Ġ
	Score float32
	Kind  Kind
}

// spells reports whether text may become this token by being cut.
func (t Token) spells() bool { return t.Kind == Normal || t.Kind == User || t.Kind == Unused }

// Prefix says where SPM puts a space in front of text, so that a word at the
// beginning is the same token as one within. BPE puts none.
type Prefix int

// The choices.
const (
	NoPrefix    Prefix = iota
	FirstPrefix        // at the beginning of the text, unless it has one
	EachPrefix         // there and after each special token, in any case
)

// Merge is a pair of tokens, by id, that may be joined.
type Merge struct{ Left, Right int32 }

// None is the id of a token that there is not.
const None int32 = -1

// Vocab describes a tokenizer. It is a plain value; [New] checks it.
type Vocab struct {
	Model  Model
	Pre    string // the pre-tokenizer of a BPE model
	Tokens []Token
	Merges []Merge // best first

	BOS, EOS, Unknown, Pad int32 // ids, or None
	// Stop holds the tokens that end an answer, ascending; EOS is among them.
	Stop           []int32
	AddBOS, AddEOS bool // whether texts are put between these
	Prefix         Prefix
	// Template is the model's own chat template in Jinja, or "".
	Template string
}

// Grow adds unused tokens until there are n: embedding tables are often padded
// to a round number of rows.
func (v *Vocab) Grow(n int) {
	for i := len(v.Tokens); i < n; i++ {
		v.Tokens = append(v.Tokens, Token{Text: fmt.Sprintf("[PAD%d]", i), Kind: Unused})
	}
}

// check proves everything that encoding relies on and returns the tokens' ids.
func (v *Vocab) check() (map[string]int32, error) {
	if v.Model != BPE && v.Model != SPM {
		return nil, fmt.Errorf("%w: model %.40q, want %q or %q", ErrVocab, v.Model, BPE, SPM)
	}
	if len(v.Tokens) == 0 || len(v.Tokens) > maxTokens || len(v.Merges) > maxMerges {
		return nil, fmt.Errorf("%w: %d tokens and %d merges, want 1 to %d tokens and at most %d merges",
			ErrVocab, len(v.Tokens), len(v.Merges), maxTokens, maxMerges)
	}
	if _, ok := cutters[v.Pre]; v.Model == BPE && !ok || v.Model == SPM && v.Pre != "" {
		return nil, fmt.Errorf("%w: pre-tokenizer %.40q of a %s vocabulary (gpt-2, llama-bpe, qwen2 and smollm are understood)", ErrVocab, v.Pre, v.Model)
	}
	if v.Model == BPE && v.Prefix != NoPrefix {
		return nil, fmt.Errorf("%w: a byte-level vocabulary that puts a space before texts is not understood", ErrVocab)
	}
	if len(v.Template) > maxTemplate {
		return nil, fmt.Errorf("%w: a chat template of %d bytes, over %d", ErrVocab, len(v.Template), maxTemplate)
	}
	ids := make(map[string]int32, len(v.Tokens))
	for i, t := range v.Tokens {
		if t.Text == "" || len(t.Text) > maxToken {
			return nil, fmt.Errorf("%w: token %d has %d bytes, want 1 to %d", ErrVocab, i, len(t.Text), maxToken)
		}
		if first, ok := ids[t.Text]; ok {
			return nil, fmt.Errorf("%w: tokens %d and %d are both %q", ErrVocab, first, i, t.Text)
		}
		if s := float64(t.Score); math.IsNaN(s) || math.IsInf(s, 0) {
			return nil, fmt.Errorf("%w: token %d (%q) has the score %v", ErrVocab, i, t.Text, t.Score)
		}
		if t.Kind < Normal || t.Kind > Byte {
			return nil, fmt.Errorf("%w: token %d (%q) is of kind %d, want 1 to 6", ErrVocab, i, t.Text, t.Kind)
		}
		ids[t.Text] = int32(i)
	}
	if err := v.checkIDs(); err != nil {
		return nil, err
	}
	return ids, v.checkMerges(ids)
}

// checkIDs proves that the ids of special tokens are ids of tokens.
func (v *Vocab) checkIDs() error {
	for name, id := range map[string]int32{"beginning-of-text": v.BOS, "end-of-text": v.EOS, "unknown": v.Unknown, "padding": v.Pad} {
		if id != None && !v.has(id) {
			return fmt.Errorf("%w: the %s token is %d, but there are %d tokens", ErrVocab, name, id, len(v.Tokens))
		}
	}
	if v.AddBOS && v.BOS == None || v.AddEOS && v.EOS == None {
		return fmt.Errorf("%w: a token is to be added at the beginning or end of texts, but it is not named", ErrVocab)
	}
	if len(v.Stop) > maxStops || !slices.IsSorted(v.Stop) || len(slices.Compact(slices.Clone(v.Stop))) != len(v.Stop) {
		return fmt.Errorf("%w: the tokens that end an answer, %.80v, must ascend and be at most %d", ErrVocab, fmt.Sprint(v.Stop), maxStops)
	}
	for _, id := range v.Stop {
		if !v.has(id) {
			return fmt.Errorf("%w: token %d ends an answer, but there are %d tokens", ErrVocab, id, len(v.Tokens))
		}
	}
	return nil
}

func (v *Vocab) has(id int32) bool { return id >= 0 && int(id) < len(v.Tokens) }

// checkMerges proves that merges join tokens into tokens. As both parts have at
// least a byte, what they make is longer than either: merges have no cycles.
func (v *Vocab) checkMerges(ids map[string]int32) error {
	seen := make(map[Merge]bool, len(v.Merges))
	for i, m := range v.Merges {
		if !v.has(m.Left) || !v.has(m.Right) {
			return fmt.Errorf("%w: merge %d joins tokens %d and %d, but there are %d tokens", ErrVocab, i, m.Left, m.Right, len(v.Tokens))
		}
		l, r := v.Tokens[m.Left].Text, v.Tokens[m.Right].Text
		made, ok := ids[l+r]
		if !ok {
			return fmt.Errorf("%w: merge %d makes %q, which is no token", ErrVocab, i, l+r)
		}
		// Otherwise a user could type a control token.
		if !v.Tokens[made].spells() {
			return fmt.Errorf("%w: merge %d makes %q, which is no token of text", ErrVocab, i, l+r)
		}
		if seen[m] {
			return fmt.Errorf("%w: merge %d (%q and %q) comes twice", ErrVocab, i, l, r)
		}
		seen[m] = true
	}
	return nil
}

// setStop makes the list of tokens that end an answer: those given, EOS, and
// control tokens that well-known model families end their turns with.
func (v *Vocab) setStop(more ...int32) {
	v.Stop = slices.Clone(more)
	for i, t := range v.Tokens {
		if t.Kind == Control && slices.Contains(turnEnds, t.Text) {
			v.Stop = append(v.Stop, int32(i))
		}
	}
	v.Stop = append(v.Stop, v.EOS)
	v.Stop = slices.DeleteFunc(v.Stop, func(id int32) bool { return id == None })
	slices.Sort(v.Stop)
	v.Stop = slices.Compact(v.Stop)
}

// turnEnds are the marks that end a turn or a text. Files often name only one
// of theirs.
var turnEnds = []string{"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "<|end|>", "<end_of_turn>"}

// parseMerges turns lines "left right" into pairs of ids.
func parseMerges(lines []string, tokens []Token) ([]Merge, error) {
	if len(lines) > maxMerges {
		return nil, fmt.Errorf("%w: %d merges, over %d", ErrVocab, len(lines), maxMerges)
	}
	ids := make(map[string]int32, len(tokens))
	for i, t := range tokens {
		ids[t.Text] = int32(i)
	}
	out := make([]Merge, 0, len(lines))
	for i, line := range lines {
		l, r, ok := strings.Cut(line, " ")
		left, okL := ids[l]
		right, okR := ids[r]
		if !ok || !okL || !okR {
			return nil, fmt.Errorf("%w: merge %d is %.80q, want two tokens with a space between", ErrVocab, i, line)
		}
		out = append(out, Merge{left, right})
	}
	return out, nil
}
