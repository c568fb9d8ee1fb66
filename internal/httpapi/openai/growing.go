package openai

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/core"
)

// growing reads a result of a language engine while it comes into being: lines
// that begin with their text, or with logprobs that have it token by token.
type growing struct {
	lines int // that the result will have
	line  int // that is read now
	seen  int // bytes
	hash  hash.Hash
	rest  []byte // of the line, not yet read
	growingLine
}

// growingLine is what has been read of a line.
type growingLine struct {
	whole   []byte
	state   int
	said    []byte    // of its text, what was given
	byToken bool      // the text is given with its tokens
	pending []logprob // read, but not given: no text came with them
	given   int       // tokens
	offset  int       // bytes of their text
}

// States of the line that is read.
const (
	beforeText = iota
	inTokens
	inText
	afterText
)

// delta is what has been added to one answer.
type delta struct {
	index    int
	text     string
	logprobs []logprob // of its tokens, nil if there are none
	offset   int       // of these tokens: bytes of those before
	done     *answer   // set at the end of the answer
}

func newGrowing(lines int) *growing { return &growing{lines: lines, hash: sha256.New()} }

// begins reports whether a whole result begins with what has been read.
func (g *growing) begins(result []byte) bool {
	return len(result) >= g.seen && core.DigestOf(result[:g.seen]) == core.Digest(g.hash.Sum(nil))
}

var (
	textField   = []byte(`"text":"`)
	tokensField = []byte(`"logprobs":[`)
)

// add reads on.
func (g *growing) add(more []byte) (out []delta, err error) {
	g.seen += len(more)
	g.hash.Write(more)
	g.rest = append(g.rest, more...)
	for {
		d, further, err := g.step()
		if d != nil {
			out = append(out, *d)
		}
		if err != nil || !further {
			return out, err
		}
	}
}

// step reads one thing, if all of it is there.
func (g *growing) step() (d *delta, further bool, err error) {
	switch g.state {
	case beforeText:
		further, err = g.head()
	case inTokens:
		return g.token()
	case inText:
		text, n, closed := unquoted(g.rest)
		if text != "" && !g.byToken {
			d = &delta{index: g.line, text: text}
			g.said = append(g.said, text...)
		}
		if g.eat(n); !closed {
			return d, false, g.stuck(maxPending)
		}
		g.state, further = afterText, true
	case afterText:
		i := bytes.IndexByte(g.rest, '\n')
		if i < 0 {
			return nil, false, nil
		}
		g.eat(i + 1)
		d, err = g.end()
		further = err == nil
	}
	return d, further, err
}

// head reads up to what grows.
func (g *growing) head() (further bool, err error) {
	text, tokens := bytes.Index(g.rest, textField), bytes.Index(g.rest, tokensField)
	switch {
	case tokens >= 0 && (text < 0 || tokens < text):
		g.eat(tokens + len(tokensField))
		g.state, g.byToken = inTokens, true
	case text >= 0:
		g.eat(text + len(textField))
		g.state = inText
	default:
		return false, g.stuck(maxHead)
	}
	return true, nil
}

// maxToken is how long a token with its logprobs may be: 21 times the bytes of one, in base64.
const maxToken = 64 << 10

// token reads an element of logprobs.
func (g *growing) token() (d *delta, further bool, err error) {
	at := 0
	if len(g.rest) > 0 && g.rest[0] == ',' {
		at = 1
	}
	if len(g.rest) > at && g.rest[at] == ']' {
		g.eat(at + 1)
		g.state = beforeText
		return nil, true, nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(g.rest[at:]))
	value, err := dec.ReadValue()
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, false, g.stuck(maxToken)
	}
	var t struct {
		logprob
		Text string `json:"text"`
	}
	if err == nil {
		err = json.Unmarshal(value, &t)
	}
	if err != nil {
		return nil, false, fmt.Errorf("result of the model, line %d: logprobs: %w", g.line+1, err)
	}
	g.eat(at + int(dec.InputOffset()))
	if g.pending = append(g.pending, t.logprob); t.Text == "" {
		return nil, true, nil
	}
	g.said = append(g.said, t.Text...)
	return g.give(t.Text, g.pending), true, nil
}

// give is a delta with tokens that have come to be known.
func (g *growing) give(text string, tokens []logprob) *delta {
	d := &delta{index: g.line, text: text, offset: g.offset}
	if len(tokens) > 0 {
		d.logprobs = tokens
	}
	for _, t := range tokens {
		g.offset += len(t.Bytes)
	}
	g.given, g.pending = g.given+len(tokens), nil
	return d
}

// maxHead is how long a line may be before its text.
const maxHead = 512

// stuck is an error if more waits to be read than a line that is as it should be
// leaves: looking at it again with each piece would cost too much.
func (g *growing) stuck(most int) error {
	if len(g.rest) > most {
		return fmt.Errorf("result of the model, line %d: its text cannot be read", g.line+1)
	}
	return nil
}

func (g *growing) eat(n int) {
	g.whole = append(g.whole, g.rest[:n]...)
	g.rest = g.rest[n:]
}

// end reads the line that has come to its end.
func (g *growing) end() (*delta, error) {
	a, err := readAnswer(g.whole, &lineID{g.line}, g.line)
	switch {
	case err != nil:
		return nil, err
	case g.line == g.lines:
		return nil, fmt.Errorf("result of the model: more than %d answers", g.lines)
	case !strings.HasPrefix(a.Text, string(g.said)):
		return nil, fmt.Errorf("result of the model, line %d: its tokens have another text", g.line+1)
	}
	tokens := a.told()
	d := g.give(a.Text[len(g.said):], tokens[min(g.given, len(tokens)):])
	d.done = a
	g.line, g.growingLine = g.line+1, growingLine{}
	return d, nil
}

// maxPending is how long what comes at the end of an unfinished JSON string may be
// that cannot be read yet: two escapes of a character beyond 16 bits, less a digit.
const maxPending = 11

// unquoted reads as much of a JSON string, after its opening quotation mark, as is
// certain. n bytes are read, the closing mark among them if it has come.
func unquoted(b []byte) (text string, n int, closed bool) {
	end := len(b)
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' {
			i++
		} else if b[i] == '"' {
			end, closed = i, true
			break
		}
	}
	for cut := 0; cut <= min(maxPending, end); cut++ {
		quoted := append(append([]byte{'"'}, b[:end-cut]...), '"')
		if plain, err := jsontext.AppendUnquote(nil, quoted); err == nil {
			n = end - cut
			if closed && cut == 0 {
				n++
			}
			return string(plain), n, closed && cut == 0
		}
		if closed {
			break
		}
	}
	return "", 0, false
}
