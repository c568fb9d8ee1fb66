package tokenizer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Tokenizer encodes and decodes. It is immutable.
type Tokenizer struct {
	vocab  *Vocab
	ids    map[string]int32 // of tokens that text may become
	merges map[Merge]ranked // nil where scores rank
	bytes  [256]int32       // each byte's token
	plain  []string         // each token's text as bytes
	marks  [256][]marker    // user and control tokens by their first byte
}

type ranked struct {
	rank float64
	id   int32
}

// marker is a token that is cut out of a text as it stands.
type marker struct {
	text    string
	id      int32
	control bool
}

// New checks v and returns its tokenizer. v must not be changed afterwards.
func New(v *Vocab) (*Tokenizer, error) {
	all, err := v.check()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{vocab: v, ids: make(map[string]int32, len(all)), plain: make([]string, len(v.Tokens))}
	for i, tok := range v.Tokens {
		id := int32(i)
		t.plain[i] = v.plain(tok)
		if tok.spells() {
			t.ids[tok.Text] = id
		}
		if tok.Kind == Control || tok.Kind == User || tok.Kind == Unknown {
			t.marks[tok.Text[0]] = append(t.marks[tok.Text[0]], marker{tok.Text, id, tok.Kind != User})
		}
	}
	for _, m := range t.marks { // the longest first
		slices.SortFunc(m, func(a, b marker) int {
			return cmp.Or(cmp.Compare(len(b.text), len(a.text)), cmp.Compare(a.text, b.text))
		})
	}
	for b := range t.bytes {
		id, ok := all[v.byteName(byte(b))]
		want := v.Tokens[max(id, 0)].Kind
		if !ok || v.Model == BPE && want != Normal || v.Model == SPM && want != Byte {
			return nil, fmt.Errorf("%w: no token spells byte %#02x, so some texts could not be read", ErrVocab, b)
		}
		t.bytes[b] = id
	}
	if len(v.Merges) > 0 || v.Model == BPE {
		t.merges = make(map[Merge]ranked, len(v.Merges))
		for i, m := range v.Merges {
			t.merges[m] = ranked{float64(i), all[v.Tokens[m.Left].Text+v.Tokens[m.Right].Text]}
		}
	}
	return t, nil
}

// Vocab returns the vocabulary. It must not be changed.
func (t *Tokenizer) Vocab() *Vocab { return t.vocab }

// Options say how a text is to be encoded.
type Options struct {
	// Whole means that this is a whole text, to be put between BOS and EOS as the
	// vocabulary asks. Chat templates write these themselves.
	Whole bool
	// Control means that control tokens spelled in the text are meant as such. Set
	// it only for text that no stranger wrote, or where what strangers wrote has been
	// through [Tokenizer.Guard].
	Control bool
}

// Encode returns the tokens of text.
func (t *Tokenizer) Encode(text string, o Options) []int32 {
	v := t.vocab
	var out []int32
	if o.Whole && v.AddBOS {
		out = append(out, v.BOS)
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	for first := true; text != ""; first = false {
		at, m := t.nextMark(text, o.Control)
		span := text[:at]
		if o.Control {
			span = strings.ReplaceAll(span, guard, "")
		}
		if span != "" {
			out = t.encodeSpan(out, span, first)
		}
		if m == nil {
			break
		}
		out = append(out, m.id)
		text = text[at+len(m.text):]
	}
	if o.Whole && v.AddEOS {
		out = append(out, v.EOS)
	}
	return out
}

// nextMark returns where the first mark of the text is and which, the longest of
// those that begin there; or the text's length and nil.
func (t *Tokenizer) nextMark(text string, control bool) (int, *marker) {
	for i := range len(text) {
		ms := t.marks[text[i]]
		for k := range ms {
			m := &ms[k]
			if !strings.HasPrefix(text[i:], m.text) || m.control && (!control || strings.HasSuffix(text[:i], guard)) {
				continue
			}
			return i, m
		}
	}
	return len(text), nil
}

// encodeSpan appends the tokens of text without marks. first says whether it is
// the beginning.
func (t *Tokenizer) encodeSpan(out []int32, text string, first bool) []int32 {
	v := t.vocab
	if v.Model == SPM {
		text = strings.ReplaceAll(text, " ", "▁")
		if v.Prefix == EachPrefix || v.Prefix == FirstPrefix && first && !strings.HasPrefix(text, "▁") {
			text = "▁" + text
		}
		return t.encodeSPM(out, text)
	}
	if v.Pre == "qwen2" {
		text = norm.NFC.String(text)
	}
	j := &joiner{}
	for cut := cutters[v.Pre]; text != ""; {
		n := cut(text)
		out = t.encodeBPE(out, j, text[:n])
		text = text[n:]
	}
	return out
}

// encodeBPE appends the tokens of one cut.
func (t *Tokenizer) encodeBPE(out []int32, j *joiner, cut string) []int32 {
	if t.vocab.Pre == "llama-bpe" {
		if id, ok := t.ids[spell(cut)]; ok {
			return append(out, id)
		}
	}
	j.text, j.symbols, j.heap = cut, j.symbols[:0], j.heap[:0]
	for i := range len(cut) {
		j.start(t.bytes[cut[i]], i, i+1)
	}
	j.join(t.byMerge)
	for _, s := range j.symbols {
		if !s.gone() {
			out = append(out, s.id)
		}
	}
	return out
}

func (t *Tokenizer) encodeSPM(out []int32, text string) []int32 {
	j := &joiner{text: text}
	for i, r := range text {
		end := i + utf8.RuneLen(r)
		id, ok := t.ids[text[i:end]]
		if !ok {
			id = None
		}
		j.start(id, i, end)
	}
	rank := t.byScore
	if t.merges != nil {
		rank = t.byMerge
	}
	j.join(rank)
	for _, s := range j.symbols {
		if s.id != None {
			if !s.gone() {
				out = append(out, s.id)
			}
			continue
		}
		for _, b := range []byte(text[s.start:s.end]) {
			out = append(out, t.bytes[b])
		}
	}
	return out
}

// byMerge ranks a pair by its line in the list of merges.
func (t *Tokenizer) byMerge(_ string, l, r symbol) (float64, int32, bool) {
	m, ok := t.merges[Merge{l.id, r.id}]
	return m.rank, m.id, ok
}

// byScore ranks a pair by the score of the token that it makes.
func (t *Tokenizer) byScore(text string, l, r symbol) (float64, int32, bool) {
	id, ok := t.ids[text[l.start:r.end]]
	if !ok {
		return 0, None, false
	}
	return -float64(t.vocab.Tokens[id].Score), id, true
}
