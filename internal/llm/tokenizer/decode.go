package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Bytes returns the bytes that a token stands for, which need not be whole
// characters. A control token's are its name. An id out of range has none.
func (t *Tokenizer) Bytes(id int32) []byte {
	if !t.vocab.has(id) {
		return nil
	}
	return []byte(t.plain[id])
}

// Stops reports whether a token ends an answer.
func (t *Tokenizer) Stops(id int32) bool {
	_, found := slices.BinarySearch(t.vocab.Stop, id)
	return found
}

// Decode returns the text of ids from the beginning of a text, without control
// tokens and without the space that encoding put in front. Bytes that are no
// UTF-8 become U+FFFD.
func (t *Tokenizer) Decode(ids []int32) string {
	var b strings.Builder
	d := t.NewDecoder()
	d.beginning = t.vocab.Prefix != NoPrefix
	for _, id := range ids {
		b.WriteString(d.Next(id))
	}
	b.WriteString(d.Flush())
	return b.String()
}

// Decoder turns tokens into text as they come. A character whose bytes are spread
// over several tokens is given with the last of them.
type Decoder struct {
	t         *Tokenizer
	pending   []byte // the beginning of a character, at most 3 bytes
	beginning bool   // a space that comes now was put there by encoding
	// Control makes control tokens show by name. They are left out otherwise.
	Control bool
}

// NewDecoder returns a decoder for the continuation of a text, such as a model's
// answer.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t} }

// Next returns the text that is complete with this token, which may be none.
func (d *Decoder) Next(id int32) string {
	if !d.t.vocab.has(id) {
		return ""
	}
	s := d.t.plain[id]
	if k := d.t.vocab.Tokens[id].Kind; k == Control || k == Unknown || k == Unused {
		if !d.Control {
			return ""
		}
	} else if d.beginning {
		d.beginning = false
		s = strings.TrimPrefix(s, " ")
	}
	d.pending = append(d.pending, s...)
	n := len(d.pending) - unfinished(d.pending)
	out := strings.ToValidUTF8(string(d.pending[:n]), "\uFFFD")
	d.pending = append(d.pending[:0], d.pending[n:]...)
	return out
}

// Flush returns what is left at the end of a text: U+FFFD if it broke off within
// a character.
func (d *Decoder) Flush() string {
	out := strings.ToValidUTF8(string(d.pending), "\uFFFD")
	d.pending = d.pending[:0]
	return out
}

// unfinished returns how many bytes at the end of b may begin a character that
// later bytes complete.
func unfinished(b []byte) int {
	for n := 1; n <= min(len(b), utf8.UTFMax-1); n++ {
		tail := b[len(b)-n:]
		if utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
