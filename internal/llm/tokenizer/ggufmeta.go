package tokenizer

import (
	"fmt"

	"atoll/internal/llm/gguf"
)

// The metadata that describe a tokenizer. Those under "atoll." are our own:
// other readers pass them over.
const (
	keyModel    = "tokenizer.ggml.model"
	keyPre      = "tokenizer.ggml.pre"
	keyTokens   = "tokenizer.ggml.tokens"
	keyScores   = "tokenizer.ggml.scores"
	keyKinds    = "tokenizer.ggml.token_type"
	keyMerges   = "tokenizer.ggml.merges"
	keyBOS      = "tokenizer.ggml.bos_token_id"
	keyEOS      = "tokenizer.ggml.eos_token_id"
	keyEOT      = "tokenizer.ggml.eot_token_id"
	keyEOM      = "tokenizer.ggml.eom_token_id"
	keyUnknown  = "tokenizer.ggml.unknown_token_id"
	keyPad      = "tokenizer.ggml.padding_token_id"
	keyAddBOS   = "tokenizer.ggml.add_bos_token"
	keyAddEOS   = "tokenizer.ggml.add_eos_token"
	keyPrefix   = "tokenizer.ggml.add_space_prefix"
	keyTemplate = "tokenizer.chat_template"
	keyStop     = "atoll.tokenizer.stop_token_ids"
	keyFirst    = "atoll.tokenizer.space_prefix_first_only"
)

// preNames are the pre-tokenizers that GGUF files name, by our names.
var preNames = map[string]string{
	"gpt2": "gpt-2", "gpt-2": "gpt-2", "phi-2": "gpt-2",
	"llama3": "llama-bpe", "llama-v3": "llama-bpe", "llama-bpe": "llama-bpe",
	"qwen2": "qwen2", "deepseek-r1-qwen": "qwen2",
	"smollm": "smollm",
}

// FromGGUF reads the vocabulary that a GGUF file's metadata describe. Whether
// texts begin with BOS where the file does not say follows llama.cpp: yes for
// SPM, and for BPE with Llama 3's pre-tokenizer.
func FromGGUF(m gguf.Meta) (*Vocab, error) {
	v := &Vocab{}
	model, err := m.Text(keyModel)
	if err != nil {
		return nil, err
	}
	if v.Model = Model(model); v.Model != BPE && v.Model != SPM {
		return nil, fmt.Errorf("%w: %s is %.40q, want %q or %q", ErrVocab, keyModel, model, BPE, SPM)
	}
	if v.Model == BPE {
		pre, err := m.Text(keyPre)
		if err != nil {
			return nil, err
		}
		if v.Pre = preNames[pre]; v.Pre == "" {
			return nil, fmt.Errorf("%w: %s is %.40q, which is not understood (gpt-2, llama-bpe, qwen2, smollm are); convert the model anew from its original files", ErrVocab, keyPre, pre)
		}
	}
	if err := v.readTokens(m); err != nil {
		return nil, err
	}
	if err := v.readIDs(m); err != nil {
		return nil, err
	}
	if v.Template, err = m.Text(keyTemplate); err != nil {
		return nil, err
	}
	_, err = v.check()
	return v, err
}

func (v *Vocab) readTokens(m gguf.Meta) error {
	texts, err := m.Texts(keyTokens)
	if err != nil {
		return err
	}
	scores, err := m.Floats(keyScores)
	if err != nil {
		return err
	}
	kinds, err := m.Ints(keyKinds)
	if err != nil {
		return err
	}
	if len(texts) == 0 || scores != nil && len(scores) != len(texts) || kinds != nil && len(kinds) != len(texts) {
		return fmt.Errorf("%w: %d tokens, %d scores, %d kinds: want as many of each", ErrVocab, len(texts), len(scores), len(kinds))
	}
	if v.Model == SPM && (scores == nil || kinds == nil) {
		return fmt.Errorf("%w: a %q vocabulary needs %s and %s", ErrVocab, v.Model, keyScores, keyKinds)
	}
	v.Tokens = make([]Token, len(texts))
	for i, text := range texts {
		v.Tokens[i] = Token{Text: text, Kind: Normal}
		if scores != nil {
			v.Tokens[i].Score = scores[i]
		}
		if kinds != nil {
			v.Tokens[i].Kind = Kind(kinds[i])
		}
	}
	lines, err := m.Texts(keyMerges)
	if err != nil {
		return err
	}
	if v.Model == BPE && lines == nil {
		return fmt.Errorf("%w: a %q vocabulary needs %s", ErrVocab, v.Model, keyMerges)
	}
	v.Merges, err = parseMerges(lines, v.Tokens)
	return err
}

func (v *Vocab) readIDs(m gguf.Meta) error {
	var eot, eom int32
	for key, id := range map[string]*int32{keyBOS: &v.BOS, keyEOS: &v.EOS, keyUnknown: &v.Unknown, keyPad: &v.Pad, keyEOT: &eot, keyEOM: &eom} {
		n, err := m.Int(key, int(None))
		if err != nil {
			return err
		}
		if n < int(None) || n >= len(v.Tokens) {
			return fmt.Errorf("%w: %s is %d, but there are %d tokens", ErrVocab, key, n, len(v.Tokens))
		}
		*id = int32(n)
	}
	stops, err := m.Ints(keyStop)
	if err != nil {
		return err
	}
	if v.Stop = stops; stops == nil {
		v.setStop(eot, eom)
	}
	begins := v.BOS != None && (v.Model == SPM || v.Pre == "llama-bpe")
	if v.AddBOS, err = m.Bool(keyAddBOS, begins); err != nil {
		return err
	}
	if v.AddEOS, err = m.Bool(keyAddEOS, false); err != nil {
		return err
	}
	prefix, err := m.Bool(keyPrefix, v.Model == SPM)
	if err != nil {
		return err
	}
	first, err := m.Bool(keyFirst, false)
	if err != nil {
		return err
	}
	switch {
	case prefix && first:
		v.Prefix = FirstPrefix
	case prefix:
		v.Prefix = EachPrefix
	}
	return nil
}

// Metadata adds to m what [FromGGUF] needs to read v back.
func (v *Vocab) Metadata(m gguf.Meta) {
	texts, scores, kinds := make([]string, len(v.Tokens)), make([]float32, len(v.Tokens)), make([]int32, len(v.Tokens))
	for i, t := range v.Tokens {
		texts[i], scores[i], kinds[i] = t.Text, t.Score, int32(t.Kind)
	}
	m[keyModel], m[keyTokens], m[keyKinds] = string(v.Model), texts, kinds
	if v.Model == SPM {
		m[keyScores] = scores
	} else {
		m[keyPre] = v.Pre
	}
	if len(v.Merges) > 0 || v.Model == BPE {
		lines := make([]string, len(v.Merges))
		for i, x := range v.Merges {
			lines[i] = v.Tokens[x.Left].Text + " " + v.Tokens[x.Right].Text
		}
		m[keyMerges] = lines
	}
	for key, id := range map[string]int32{keyBOS: v.BOS, keyEOS: v.EOS, keyUnknown: v.Unknown, keyPad: v.Pad} {
		if id != None {
			m[key] = uint32(id)
		}
	}
	m[keyStop] = append([]int32{}, v.Stop...)
	m[keyAddBOS], m[keyAddEOS] = v.AddBOS, v.AddEOS
	m[keyPrefix], m[keyFirst] = v.Prefix != NoPrefix, v.Prefix == FirstPrefix
	if v.Template != "" {
		m[keyTemplate] = v.Template
	}
}
