package tokenizer

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// hfConfig reads tokenizer_config.json, generation_config.json and the template.
func (v *Vocab) hfConfig(files HFFiles, ids map[string]int32) error {
	var c struct {
		BOS      jsontext.Value `json:"bos_token"`
		EOS      jsontext.Value `json:"eos_token"`
		Pad      jsontext.Value `json:"pad_token"`
		Template jsontext.Value `json:"chat_template"`
	}
	if files.Config != nil {
		if err := json.Unmarshal(files.Config, &c); err != nil {
			return fmt.Errorf("%w: tokenizer_config.json: %w", ErrVocab, err)
		}
	}
	for _, s := range []struct {
		name string
		raw  jsontext.Value
		id   *int32
		used bool // already told by the post-processor, which rules
	}{{"bos_token", c.BOS, &v.BOS, v.AddBOS}, {"eos_token", c.EOS, &v.EOS, v.AddEOS}, {"pad_token", c.Pad, &v.Pad, false}} {
		text, err := tokenText(s.raw)
		if err != nil {
			return fmt.Errorf("%w: tokenizer_config.json: %s: %w", ErrVocab, s.name, err)
		}
		id, ok := ids[text]
		if text != "" && !ok {
			return fmt.Errorf("%w: tokenizer_config.json: %s %.40q is no token", ErrVocab, s.name, text)
		}
		if ok && !s.used {
			*s.id = id
		}
	}
	ends, err := generationEnds(files.Generation)
	if err != nil {
		return err
	}
	if v.EOS == None && len(ends) > 0 {
		v.EOS = ends[0]
	}
	v.setStop(ends...)
	v.Template, err = template(files.Template, c.Template)
	return err
}

// tokenText reads a token that is a string, an object with "content", or absent.
func tokenText(raw jsontext.Value) (string, error) {
	var text string
	switch {
	case len(raw) == 0 || raw.Kind() == 'n':
		return "", nil
	case raw.Kind() == '{':
		var object struct {
			Content string `json:"content"`
		}
		err := json.Unmarshal(raw, &object)
		return object.Content, err
	}
	err := json.Unmarshal(raw, &text)
	return text, err
}

// generationEnds reads eos_token_id, a number or an array of numbers.
func generationEnds(b []byte) ([]int32, error) {
	if b == nil {
		return nil, nil
	}
	var g struct {
		EOS jsontext.Value `json:"eos_token_id"`
	}
	err := json.Unmarshal(b, &g)
	var ids []int32
	if err == nil && len(g.EOS) > 0 && g.EOS.Kind() != 'n' {
		if g.EOS.Kind() == '[' {
			err = json.Unmarshal(g.EOS, &ids)
		} else {
			ids = make([]int32, 1)
			err = json.Unmarshal(g.EOS, &ids[0])
		}
	}
	if err != nil || len(ids) > maxStops {
		return nil, fmt.Errorf("%w: generation_config.json: eos_token_id is not a number or a list of at most %d: %w", ErrVocab, maxStops, err)
	}
	return ids, nil
}

// template picks the chat template: a file of its own, or the member, which is a
// string or a list of named ones, of which "default" counts.
func template(file []byte, raw jsontext.Value) (string, error) {
	if file != nil {
		return string(file), nil
	}
	var named []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	var text string
	var err error
	switch {
	case len(raw) == 0 || raw.Kind() == 'n':
	case raw.Kind() == '[':
		err = json.Unmarshal(raw, &named)
		for _, n := range named {
			if n.Name == "default" {
				text = n.Template
			}
		}
	default:
		err = json.Unmarshal(raw, &text)
	}
	if err != nil {
		return "", fmt.Errorf("%w: tokenizer_config.json: chat_template: %w", ErrVocab, err)
	}
	return text, nil
}
