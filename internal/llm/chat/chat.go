// Package chat writes a conversation the way that a model was trained to read it:
// by the chat template in the model's file, or by one of a few built-in ones.
//
//	t, err := chat.New(tok, "")                     // the model's own template
//	messages, err := chat.ReadMessages(body)        // OpenAI's array of messages
//	prompt, err := t.Encode(chat.Request{Messages: messages, Answer: true})
//
// A template is a program from a stranger; package jinja runs it within limits. A
// message is text from another stranger: [Template.Encode] lets the template write
// control tokens and lets no message do so, whatever is typed into it.
package chat

import (
	"embed"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"atoll/internal/core"
	"atoll/internal/llm/chat/jinja"
	"atoll/internal/llm/tokenizer"
)

//go:embed templates/*.jinja
var builtin embed.FS

// Names returns the names of the built-in templates.
func Names() []string {
	files, err := builtin.ReadDir("templates")
	if err != nil {
		panic(err) // it is part of the program
	}
	var out []string
	for _, f := range files {
		out = append(out, strings.TrimSuffix(f.Name(), ".jinja"))
	}
	return out
}

// Template writes conversations for one model. It is immutable.
type Template struct {
	tok *tokenizer.Tokenizer
	t   *jinja.Template
}

// New returns the template of a model: its own if name is "", or the built-in one
// of that name.
func New(tok *tokenizer.Tokenizer, name string) (*Template, error) {
	choose := "choose one of the built-in templates: " + strings.Join(Names(), ", ")
	source := tok.Vocab().Template
	switch {
	case name != "":
		b, err := builtin.ReadFile(path.Join("templates", name+".jinja"))
		if err != nil || !slices.Contains(Names(), name) {
			return nil, core.Errorf(core.NotFound, "there is no chat template %.40q", name).WithHint(choose)
		}
		source = string(b)
	case source == "":
		return nil, core.Errorf(core.Unsupported, "the model has no chat template").WithHint(choose)
	}
	t, err := jinja.Parse(source)
	if err != nil {
		return nil, core.Errorf(core.Unsupported, "the model's own %w", err).WithHint(choose)
	}
	return &Template{tok, t}, nil
}

// Request is a conversation to be written.
type Request struct {
	Messages jinja.List // of *jinja.Dict with role and content; see ReadMessages
	// Tools is a list of what the model may call, or nil. See jinja.FromJSON.
	Tools jinja.Value
	// Answer puts the beginning of the assistant's turn at the end.
	Answer bool
	// Time is what the template is told when it asks for the date. If it is zero the
	// template cannot ask: two renderings at different times are then the same.
	Time time.Time
	// Extra are variables that some templates know, such as enable_thinking.
	Extra map[string]jinja.Value
}

// Render returns the text of a conversation. It is for people to read; whether its
// control tokens were written by the template cannot be told from it.
func (t *Template) Render(r Request) (string, error) { return t.render(r, r.Messages, r.Tools) }

// Encode returns the tokens of a conversation.
func (t *Template) Encode(r Request) ([]int32, error) {
	messages, _ := t.guard(r.Messages).(jinja.List)
	text, err := t.render(r, messages, t.guard(r.Tools))
	if err != nil {
		return nil, err
	}
	return t.tok.Encode(text, tokenizer.Options{Control: true}), nil
}

// guard marks all strings in a value; see [tokenizer.Tokenizer.Guard].
func (t *Template) guard(v jinja.Value) jinja.Value {
	switch x := v.(type) {
	case string:
		return t.tok.Guard(x)
	case jinja.List:
		out := make(jinja.List, len(x))
		for i, e := range x {
			out[i] = t.guard(e)
		}
		return out
	case *jinja.Dict:
		out := jinja.NewDict()
		for k, e := range x.All() {
			out.Set(t.tok.Guard(k), t.guard(e))
		}
		return out
	}
	return v
}

func (t *Template) render(r Request, messages jinja.List, tools jinja.Value) (string, error) {
	v := t.tok.Vocab()
	vars := maps.Clone(r.Extra)
	if vars == nil {
		vars = map[string]jinja.Value{}
	}
	vars["messages"], vars["add_generation_prompt"] = messages, r.Answer
	vars["bos_token"], vars["eos_token"] = special(v, v.BOS), special(v, v.EOS)
	vars["tools"] = tools
	if !r.Time.IsZero() {
		vars["strftime_now"] = strftimeNow(r.Time)
	}
	text, err := t.t.Render(vars, jinja.DefaultLimits)
	if err == nil {
		return text, nil
	}
	raised, ok := errors.AsType[*jinja.RaisedError](err)
	switch {
	case ok:
		return "", (&core.Error{Kind: core.Invalid, Message: raised.Message, Err: err}).At("messages")
	case errors.Is(err, jinja.ErrLimit):
		return "", (&core.Error{Kind: core.TooLarge, Message: fmt.Sprintf("the conversation is too much for the model's chat template: %v", err), Err: err}).At("messages")
	}
	return "", (&core.Error{Kind: core.Invalid, Message: fmt.Sprintf("the conversation does not suit the model: %v", err), Err: err}).At("messages")
}

// special is the text of a special token, or "".
func special(v *tokenizer.Vocab, id int32) string {
	if id == tokenizer.None {
		return ""
	}
	return v.Tokens[id].Text
}

// strftimeNow is a function that formats the time as C does, with the directives
// that templates use.
func strftimeNow(now time.Time) jinja.Value {
	layouts := map[byte]string{
		'd': "02", 'b': "Jan", 'B': "January", 'm': "01", 'y': "06", 'Y': "2006", 'H': "15", 'I': "03", 'M': "04", 'S': "05",
		'p': "PM", 'a': "Mon", 'A': "Monday", 'j': "002", 'Z': "MST", 'z': "-0700",
	}
	return jinja.Func(func(args []jinja.Value) (jinja.Value, error) {
		if len(args) != 1 {
			return nil, fmt.Errorf("strftime_now with %d arguments, want 1", len(args))
		}
		format, ok := args[0].(string)
		if !ok {
			return nil, errors.New("strftime_now of what is no string")
		}
		var b strings.Builder
		for i := 0; i < len(format); i++ {
			if format[i] != '%' || i+1 == len(format) {
				b.WriteByte(format[i])
				continue
			}
			i++
			switch layout, ok := layouts[format[i]]; {
			case ok:
				b.WriteString(now.Format(layout))
			case format[i] == '%':
				b.WriteByte('%')
			default:
				return nil, fmt.Errorf("strftime_now does not understand %%%c", format[i])
			}
		}
		return b.String(), nil
	})
}
