package openai

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"

	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/core"
)

// growing reads a result of a language engine while it comes into being: lines
// that begin with their text.
type growing struct {
	lines int // that the result will have
	line  int // that is read now
	seen  int // bytes
	hash  hash.Hash
	rest  []byte // of the line, not yet read
	whole []byte // the line so far
	state int    // of the line
	said  int    // bytes of its text that were given
}

// States of the line that is read.
const (
	beforeText = iota
	inText
	afterText
)

// delta is what has been added to one answer.
type delta struct {
	index int
	text  string
	done  *answer // set at the end of the answer
}

func newGrowing(lines int) *growing { return &growing{lines: lines, hash: sha256.New()} }

// begins reports whether a whole result begins with what has been read.
func (g *growing) begins(result []byte) bool {
	return len(result) >= g.seen && core.DigestOf(result[:g.seen]) == core.Digest(g.hash.Sum(nil))
}

var textField = []byte(`"text":"`)

// add reads on.
func (g *growing) add(more []byte) (out []delta, err error) {
	g.seen += len(more)
	g.hash.Write(more)
	g.rest = append(g.rest, more...)
	for {
		switch g.state {
		case beforeText:
			i := bytes.Index(g.rest, textField)
			if i < 0 {
				return out, g.stuck(maxHead)
			}
			g.eat(i + len(textField))
			g.state = inText
		case inText:
			text, n, closed := unquoted(g.rest)
			if text != "" {
				out = append(out, delta{index: g.line, text: text})
			}
			g.said += len(text)
			if g.eat(n); !closed {
				return out, g.stuck(maxPending)
			}
			g.state = afterText
		case afterText:
			i := bytes.IndexByte(g.rest, '\n')
			if i < 0 {
				return out, nil
			}
			g.eat(i + 1)
			d, err := g.end()
			if err != nil {
				return out, err
			}
			out = append(out, d)
		}
	}
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
func (g *growing) end() (delta, error) {
	a, err := readAnswer(g.whole, &lineID{g.line}, g.line)
	if err == nil && g.line == g.lines {
		err = fmt.Errorf("result of the model: more than %d answers", g.lines)
	}
	if err != nil {
		return delta{}, err
	}
	d := delta{index: g.line, done: a, text: a.Text[min(g.said, len(a.Text)):]}
	g.line, g.whole, g.state, g.said = g.line+1, nil, beforeText, 0
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
