package completion

import (
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Fields that an answer's line goes on with after its ID, as they grow first.
const (
	Text     = "text"
	Logprobs = "logprobs" // of engines that tell each token's text beside it
)

// AppendHead begins an answer's line, up to the value of the given field.
func AppendHead(b []byte, id jsontext.Value, field string) []byte {
	b = append(b, '{')
	if id != nil {
		b = append(append(append(b, `"id":`...), id...), ',')
	}
	return append(append(append(b, '"'), field...), `":`...)
}

// AppendText writes text, which has whole characters, as JSON.
func AppendText[T []byte | string](b []byte, text T) []byte {
	b, _ = jsontext.AppendQuote(b, text) // fails on other text alone
	return b
}

// Progress tells the beginning of a result while its lines are answered: see
// engine.Input. They may be answered side by side, but are told in their order:
// what is said of a line waits until all before it have ended. It may be used from
// several goroutines, of which each says one line.
type Progress struct {
	tell func([]byte) // nil: nobody asks

	mu    sync.Mutex
	next  int // the line that is told now
	lines []told
}

// told is what is known of a line.
type told struct {
	said  int    // bytes of it that are told or wait
	waits []byte // to be told when it is its turn
	ended bool
}

// NewProgress returns the progress of so many lines. tell may be nil.
func NewProgress(tell func([]byte), lines int) *Progress {
	p := &Progress{tell: tell}
	if tell != nil {
		p.lines = make([]told, lines)
	}
	return p
}

// Text says how the text of line i, which has the given ID, goes on.
func (p *Progress) Text(i int, id jsontext.Value, more string) {
	if p.tell == nil || more == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var head []byte
	quoted := AppendText(nil, more)
	quoted = quoted[:len(quoted)-1] // the text goes on
	if p.lines[i].said == 0 {
		head = AppendHead(nil, id, Text)
	} else {
		quoted = quoted[1:]
	}
	p.say(i, append(head, quoted...))
}

// Token says the next element of line i's logprobs. Text is not said of such a line:
// the elements have it.
func (p *Progress) Token(i int, id jsontext.Value, element []byte) {
	if p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var head []byte
	if p.lines[i].said == 0 {
		head = append(AppendHead(nil, id, Logprobs), '[')
	} else {
		head = []byte{','}
	}
	p.say(i, append(head, element...))
}

// End says the rest of line i; whole is all of it, with its line break.
func (p *Progress) End(i int, whole []byte) {
	if p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines[i].ended = true
	p.say(i, whole[min(p.lines[i].said, len(whole)):]) // a refusal may be shorter than what was said before it
}

// say is called with mu held.
func (p *Progress) say(i int, more []byte) {
	p.lines[i].said += len(more)
	p.lines[i].waits = append(p.lines[i].waits, more...)
	for p.next < len(p.lines) {
		l := &p.lines[p.next]
		if len(l.waits) > 0 {
			p.tell(l.waits)
			l.waits = nil
		}
		if !l.ended {
			return
		}
		p.next++
	}
}
