package tokenizer

import "strings"

// guard is a code point that no text may use (a Unicode noncharacter). It stands
// before the spelling of a control token that is to stay text.
const guard = "\uFDD0"

// Guard returns text so marked that [Tokenizer.Encode] with Options.Control takes
// no control token from it, nor one that begins in it and ends in what follows. It
// is for what strangers wrote into a text that is otherwise our own: the messages of
// a conversation, before a chat template is put around them. Encode drops the marks;
// text that spells no control token stays as it is.
func (t *Tokenizer) Guard(text string) string {
	text = strings.ReplaceAll(text, guard, "\uFFFD")
	var b strings.Builder
	for i := range len(text) {
		for _, m := range t.marks[text[i]] {
			if m.control && (strings.HasPrefix(text[i:], m.text) || strings.HasPrefix(m.text, text[i:])) {
				b.WriteString(guard)
				break
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
