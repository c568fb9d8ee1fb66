package tokenizer

import (
	"fmt"
	"math"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// HFFiles are the contents of the files in which Hugging Face keeps a tokenizer.
// All but Tokenizer may be nil.
type HFFiles struct {
	Tokenizer  []byte // tokenizer.json
	Config     []byte // tokenizer_config.json: special tokens, chat template
	Generation []byte // generation_config.json: what ends an answer
	Template   []byte // chat_template.jinja
}

// hfTokenizer is tokenizer.json.
type hfTokenizer struct {
	Added []struct {
		ID      int32  `json:"id"`
		Content string `json:"content"`
		Single  bool   `json:"single_word"`
		LStrip  bool   `json:"lstrip"`
		RStrip  bool   `json:"rstrip"`
		Special bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    *hfStep `json:"normalizer"`
	PreTokenizer  *hfStep `json:"pre_tokenizer"`
	PostProcessor *hfStep `json:"post_processor"`
	Model         hfModel `json:"model"`
}

type hfModel struct {
	Type         string           `json:"type"`
	Dropout      *float64         `json:"dropout"`
	Unknown      *string          `json:"unk_token"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       []jsontext.Value `json:"merges"`
}

// hfStep is a normalizer, pre-tokenizer or post-processor, with the members of
// all kinds that are understood.
type hfStep struct {
	Type          string   `json:"type"`
	Normalizers   []hfStep `json:"normalizers"`
	Pretokenizers []hfStep `json:"pretokenizers"`
	Processors    []hfStep `json:"processors"`

	Pattern  *hfPattern `json:"pattern"`
	Behavior string     `json:"behavior"`
	Invert   bool       `json:"invert"`
	Content  string     `json:"content"`
	Prepend  string     `json:"prepend"`

	AddPrefixSpace *bool   `json:"add_prefix_space"`
	UseRegex       *bool   `json:"use_regex"`
	Individual     bool    `json:"individual_digits"`
	Replacement    string  `json:"replacement"`
	PrependScheme  string  `json:"prepend_scheme"`
	Split          *bool   `json:"split"`
	Single         []hfEnd `json:"single"`
}

type hfPattern struct {
	Text  string `json:"String"`
	Regex string `json:"Regex"`
}

// hfEnd is an item of a template: a special token, or the text.
type hfEnd struct {
	Special *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *struct {
		ID string `json:"id"`
	} `json:"Sequence"`
}

// FromHF reads a vocabulary of Hugging Face's. Only BPE is understood, byte-level
// or with byte fallback, and only the pre-tokenizers of the package comment,
// told by their very patterns: any other would cut texts differently.
func FromHF(files HFFiles) (*Vocab, error) {
	var h hfTokenizer
	if err := json.Unmarshal(files.Tokenizer, &h); err != nil {
		return nil, fmt.Errorf("%w: tokenizer.json: %w", ErrVocab, err)
	}
	v := &Vocab{BOS: None, EOS: None, Unknown: None, Pad: None}
	m := &h.Model
	switch {
	case m.Type != "BPE":
		return nil, fmt.Errorf("%w: tokenizer.json: model %.40q, want BPE", ErrVocab, m.Type)
	case m.Dropout != nil && *m.Dropout != 0, m.Prefix != nil && *m.Prefix != "", m.Suffix != nil && *m.Suffix != "":
		return nil, fmt.Errorf("%w: tokenizer.json: dropout, continuing_subword_prefix and end_of_word_suffix are not understood", ErrVocab)
	}
	if err := v.hfScheme(&h); err != nil {
		return nil, err
	}
	ids, err := v.hfTokens(&h)
	if err != nil {
		return nil, err
	}
	if err := v.hfMerges(m.Merges, ids); err != nil {
		return nil, err
	}
	if err := v.hfEnds(h.PostProcessor, ids); err != nil {
		return nil, err
	}
	if err := v.hfConfig(files, ids); err != nil {
		return nil, err
	}
	_, err = v.check()
	return v, err
}

// hfTokens lays out the vocabulary and the added tokens by id. Ids that are left
// out become unused tokens.
func (v *Vocab) hfTokens(h *hfTokenizer) (map[string]int32, error) {
	ids, err := h.ids()
	if err != nil {
		return nil, err
	}
	kinds := map[string]Kind{}
	for _, a := range h.Added {
		if kinds[a.Content] = User; a.Special {
			kinds[a.Content] = Control
		}
	}
	if u := h.Model.Unknown; u != nil {
		id, ok := ids[*u]
		if !ok {
			return nil, fmt.Errorf("%w: tokenizer.json: unk_token %.40q is no token", ErrVocab, *u)
		}
		if v.Unknown = id; v.Model == SPM {
			kinds[*u] = Unknown
		}
	}
	size := int32(0)
	for _, id := range ids {
		size = max(size, id+1)
	}
	v.Tokens = make([]Token, size)
	for text, id := range ids {
		if other := v.Tokens[id].Text; other != "" {
			return nil, fmt.Errorf("%w: tokenizer.json: tokens %.40q and %.40q share the id %d", ErrVocab, min(text, other), max(text, other), id)
		}
		kind := kinds[text]
		if kind == 0 {
			kind = Normal
			if v.Model == SPM && len(text) == 6 && strings.HasPrefix(text, "<0x") && text[5] == '>' {
				kind = Byte
			}
		}
		v.Tokens[id] = Token{Text: text, Kind: kind}
	}
	for i := range v.Tokens {
		if v.Tokens[i].Text == "" {
			v.Tokens[i] = Token{Text: fmt.Sprintf("[PAD%d]", i), Kind: Unused}
		}
	}
	return ids, nil
}

// ids joins the vocabulary and the added tokens, which may name the same token but
// not give it another id.
func (h *hfTokenizer) ids() (map[string]int32, error) {
	ids := make(map[string]int32, len(h.Model.Vocab)+len(h.Added))
	place := func(text string, id int32) error {
		if id < 0 || id >= maxTokens {
			return fmt.Errorf("%w: tokenizer.json: token %.40q has the id %d, want 0 to %d", ErrVocab, text, id, maxTokens-1)
		}
		if other, ok := ids[text]; ok && other != id {
			return fmt.Errorf("%w: tokenizer.json: token %.40q has the ids %d and %d", ErrVocab, text, other, id)
		}
		ids[text] = id
		return nil
	}
	for text, id := range h.Model.Vocab {
		if err := place(text, id); err != nil {
			return nil, err
		}
	}
	for _, a := range h.Added {
		if a.Single || a.LStrip || a.RStrip {
			return nil, fmt.Errorf("%w: tokenizer.json: added token %.40q strips its neighbours or stands for single words only, which is not understood", ErrVocab, a.Content)
		}
		if err := place(a.Content, a.ID); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// hfMerges reads merges, which are "left right" or ["left", "right"]. For readers
// that rank by score alone, SPM tokens get scores in the order of the merges.
func (v *Vocab) hfMerges(raw []jsontext.Value, ids map[string]int32) error {
	if len(raw) > maxMerges {
		return fmt.Errorf("%w: tokenizer.json: %d merges, over %d", ErrVocab, len(raw), maxMerges)
	}
	for i, r := range raw {
		var pair []string
		var line string
		err := json.Unmarshal(r, &pair)
		if r.Kind() == '"' {
			err = json.Unmarshal(r, &line)
			pair = strings.Split(line, " ")
		}
		if err != nil || len(pair) != 2 {
			return fmt.Errorf("%w: tokenizer.json: merge %d is %.80s, want two tokens", ErrVocab, i, r)
		}
		left, okL := ids[pair[0]]
		right, okR := ids[pair[1]]
		if !okL || !okR {
			return fmt.Errorf("%w: tokenizer.json: merge %d joins %.40q and %.40q, of which one is no token", ErrVocab, i, pair[0], pair[1])
		}
		v.Merges = append(v.Merges, Merge{left, right})
	}
	if v.Model != SPM {
		return nil
	}
	if len(v.Merges) == 0 {
		return fmt.Errorf("%w: tokenizer.json has no merges", ErrVocab)
	}
	for i := range v.Tokens {
		if v.Tokens[i].Kind == Normal {
			v.Tokens[i].Score = -math.MaxInt32
		}
	}
	for i := len(v.Merges) - 1; i >= 0; i-- {
		m := v.Merges[i]
		if id, ok := ids[v.Tokens[m.Left].Text+v.Tokens[m.Right].Text]; ok {
			v.Tokens[id].Score = -float32(i)
		}
	}
	return nil
}
