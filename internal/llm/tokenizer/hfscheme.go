package tokenizer

import "strings"

import "fmt"

// The patterns by which tokenizer.json tells its pre-tokenizer.
var hfPatterns = map[string]string{
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: "llama-bpe",
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      "qwen2",
}

// hfScheme finds the model, the pre-tokenizer and the prefix.
func (v *Vocab) hfScheme(h *hfTokenizer) error {
	if h.Model.ByteFallback {
		v.Model = SPM
		return v.hfSpaces(h)
	}
	v.Model = BPE
	steps := flatten(h.PreTokenizer, func(s *hfStep) []hfStep { return s.Pretokenizers })
	v.Pre = bytePre(steps)
	if v.Pre == "" {
		return fmt.Errorf("%w: tokenizer.json: the pre_tokenizer is not one of gpt-2, llama-bpe, qwen2, smollm", ErrVocab)
	}
	var normal strings.Builder
	for _, s := range flatten(h.Normalizer, func(s *hfStep) []hfStep { return s.Normalizers }) {
		normal.WriteString(s.Type + " ")
	}
	want := ""
	if v.Pre == "qwen2" {
		want = "NFC "
	}
	if normal.String() != want {
		return fmt.Errorf("%w: tokenizer.json: normalizer %.40q, want %q with this pre_tokenizer", ErrVocab, normal.String(), want)
	}
	if whole := v.Pre == "llama-bpe"; h.Model.IgnoreMerges != whole {
		return fmt.Errorf("%w: tokenizer.json: ignore_merges is %t, want %t with this pre_tokenizer", ErrVocab, h.Model.IgnoreMerges, whole)
	}
	return nil
}

// flatten returns the steps of a sequence, or the one step, or none.
func flatten(s *hfStep, of func(*hfStep) []hfStep) []hfStep {
	switch {
	case s == nil:
		return nil
	case s.Type == "Sequence":
		return of(s)
	}
	return []hfStep{*s}
}

// bytePre names a byte-level pre-tokenizer, or returns "".
func bytePre(steps []hfStep) string {
	if len(steps) == 0 || len(steps) > 2 {
		return ""
	}
	last := steps[len(steps)-1]
	if last.Type != "ByteLevel" || last.AddPrefixSpace == nil || *last.AddPrefixSpace {
		return ""
	}
	regex := last.UseRegex == nil || *last.UseRegex // the default is true
	switch first := steps[0]; {
	case len(steps) == 1 && regex:
		return "gpt-2"
	case len(steps) == 1:
		return ""
	case first.Type == "Digits" && first.Individual && regex:
		return "smollm"
	case first.Type == "Split" && first.Behavior == "Isolated" && !first.Invert && first.Pattern != nil && !regex:
		return hfPatterns[first.Pattern.Regex]
	}
	return ""
}

// hfSpaces finds how spaces become ▁, which is told by a normalizer or by a
// pre-tokenizer.
func (v *Vocab) hfSpaces(h *hfTokenizer) error {
	normal := flatten(h.Normalizer, func(s *hfStep) []hfStep { return s.Normalizers })
	pre := flatten(h.PreTokenizer, func(s *hfStep) []hfStep { return s.Pretokenizers })
	replaces := func(s hfStep) bool {
		return s.Type == "Replace" && s.Pattern != nil && s.Pattern.Text == " " && s.Content == "▁"
	}
	switch {
	case h.Model.IgnoreMerges:
	case len(pre) == 0 && len(normal) == 1 && replaces(normal[0]):
		v.Prefix = NoPrefix
		return nil
	case len(pre) == 0 && len(normal) == 2 && normal[0].Type == "Prepend" && normal[0].Prepend == "▁" && replaces(normal[1]):
		v.Prefix = EachPrefix
		return nil
	case len(pre) == 1 && len(normal) == 0 && pre[0].Type == "Metaspace" && pre[0].Replacement == "▁" && pre[0].Split != nil && !*pre[0].Split:
		switch pre[0].PrependScheme {
		case "first":
			v.Prefix = FirstPrefix
			return nil
		case "never":
			v.Prefix = NoPrefix
			return nil
		}
	}
	return fmt.Errorf("%w: tokenizer.json: its normalizer and pre_tokenizer treat spaces in a way that is not understood", ErrVocab)
}

// hfEnds finds what is put before and after texts.
func (v *Vocab) hfEnds(post *hfStep, ids map[string]int32) error {
	for _, s := range flatten(post, func(s *hfStep) []hfStep { return s.Processors }) {
		if s.Type == "ByteLevel" { // changes offsets only
			continue
		}
		if s.Type != "TemplateProcessing" {
			return fmt.Errorf("%w: tokenizer.json: post_processor %.40q is not understood", ErrVocab, s.Type)
		}
		end := false
		for _, x := range s.Single {
			if x.Special == nil {
				end = true
				continue
			}
			id, ok := ids[x.Special.ID]
			if !ok || end && v.AddEOS || !end && v.AddBOS {
				return fmt.Errorf("%w: tokenizer.json: post_processor: token %.40q is unknown, or one of several", ErrVocab, x.Special.ID)
			}
			if end {
				v.EOS, v.AddEOS = id, true
			} else {
				v.BOS, v.AddBOS = id, true
			}
		}
	}
	return nil
}
