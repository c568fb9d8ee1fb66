package grammar

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	maxDeep   = 128     // calls within each other: how deep a value may be nested
	maxWork   = 1 << 17 // threads that are followed for one mask
	maxFrames = 1 << 16 // distinct calls that are kept
	maxStates = 1 << 10 // states that are kept
	maxMasks  = 4 << 20 // bytes of masks that are kept
)

// Matcher follows one answer through a form. Use one at a time.
type Matcher struct {
	g     *Grammar
	vocab *Vocabulary

	frames  []frame
	frameOf map[frame]int32
	stateOf map[string]*state
	masks   int // bytes
	now     *state
	work    int // threads followed since the last mask

	// Room for closure.
	threads []thread
	seen    map[thread]bool
}

// frame is a call that has not returned: where it goes on, in which call. Frame 0
// is none.
type frame struct {
	to, up int32
	depth  int32
}

// thread is one way to have read the text so far: it waits at an opByte, or at the
// end, which is done.
type thread struct{ at, frame int32 }

const done = int32(-1)

// state is a set of threads. What follows from it is found out once.
type state struct {
	threads []thread
	next    [256]*state // nil: not known yet
	mask    []uint64    // tokens that may come, by id
}

// dead has no threads: no text comes out of it.
var dead = &state{}

// NewMatcher begins an answer. It fails with ErrForm if no answer can be in the
// form.
func NewMatcher(g *Grammar, v *Vocabulary) (*Matcher, error) {
	m := &Matcher{g: g, vocab: v, seen: map[thread]bool{}, now: &state{threads: []thread{}}}
	m.forget()
	m.begin()
	if err := m.add(thread{g.rules[0], 0}); err != nil {
		return nil, err
	}
	if m.now = m.state(); m.now == dead {
		return nil, fmt.Errorf("%w: no text is in it", ErrForm)
	}
	return m, nil
}

// forget drops what was found out, but not where the answer is.
func (m *Matcher) forget() {
	old := m.frames
	m.frames, m.frameOf, m.stateOf, m.masks = []frame{{}}, map[frame]int32{}, map[string]*state{}, 0
	var again func(id int32) int32
	again = func(id int32) int32 {
		if id == 0 {
			return 0
		}
		f := old[id]
		f.up = again(f.up)
		return m.frame(f)
	}
	now := &state{}
	for _, t := range m.now.threads {
		now.threads = append(now.threads, thread{t.at, again(t.frame)})
	}
	m.now = now
}

func (m *Matcher) begin() {
	m.threads = m.threads[:0]
	clear(m.seen)
}

// add follows a thread to all places where it waits for a byte.
func (m *Matcher) add(t thread) error {
	if m.seen[t] {
		return nil
	}
	m.seen[t] = true
	if m.work++; m.work > maxWork || len(m.frames) > maxFrames {
		return fmt.Errorf("%w: it is too costly to follow: too much in it can be read in several ways", ErrForm)
	}
	if t.at == done {
		m.threads = append(m.threads, t)
		return nil
	}
	switch o := m.g.code[t.at]; o.kind {
	case opByte:
		if o.lo <= o.hi {
			m.threads = append(m.threads, t)
		}
	case opSplit:
		if err := m.add(thread{t.at + 1, t.frame}); err != nil {
			return err
		}
		return m.add(thread{o.to, t.frame})
	case opJump:
		return m.add(thread{o.to, t.frame})
	case opCall:
		f := frame{to: t.at + 1, up: t.frame, depth: m.frames[t.frame].depth + 1}
		if m.returns(f.to) { // the last thing that this rule does: no need to come back
			return m.add(thread{m.g.rules[o.to], t.frame})
		}
		if f.depth > maxDeep {
			return nil // nothing may be nested deeper
		}
		return m.add(thread{m.g.rules[o.to], m.frame(f)})
	case opReturn:
		if t.frame == 0 {
			return m.add(thread{done, 0})
		}
		f := m.frames[t.frame]
		return m.add(thread{f.to, f.up})
	}
	return nil
}

// returns reports whether nothing is left to do at a place but to return.
func (m *Matcher) returns(at int32) bool {
	for m.g.code[at].kind == opJump {
		at = m.g.code[at].to
	}
	return m.g.code[at].kind == opReturn
}

func (m *Matcher) frame(f frame) int32 {
	id, ok := m.frameOf[f]
	if !ok {
		id = int32(len(m.frames))
		m.frames = append(m.frames, f)
		m.frameOf[f] = id
	}
	return id
}

// state returns the state of the threads that were added.
func (m *Matcher) state() *state {
	if len(m.threads) == 0 {
		return dead
	}
	slices.SortFunc(m.threads, func(a, b thread) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.frame, b.frame)) })
	var key []byte
	for _, t := range m.threads {
		key = binary.LittleEndian.AppendUint32(key, uint32(t.at))
		key = binary.LittleEndian.AppendUint32(key, uint32(t.frame))
	}
	s := m.stateOf[string(key)]
	if s == nil {
		s = &state{threads: slices.Clone(m.threads)}
		if len(m.stateOf) < maxStates {
			m.stateOf[string(key)] = s
		}
	}
	return s
}

// step returns the state after one more byte.
func (m *Matcher) step(s *state, b byte) (*state, error) {
	if s == dead {
		return dead, nil
	}
	if next := s.next[b]; next != nil {
		return next, nil
	}
	m.begin()
	for _, t := range s.threads {
		if t.at == done {
			continue
		}
		if o := m.g.code[t.at]; o.lo <= b && b <= o.hi {
			if err := m.add(thread{t.at + 1, t.frame}); err != nil {
				return nil, err
			}
		}
	}
	next := m.state()
	if len(m.stateOf) < maxStates {
		s.next[b] = next
	}
	return next, nil
}

func (s *state) ends() bool {
	return slices.ContainsFunc(s.threads, func(t thread) bool { return t.at == done })
}

// Mask sets the logits of all tokens that must not come next to −Inf. A token that
// ends the answer may come when the text so far is in the form. It fails if the
// vocabulary has no token that could.
func (m *Matcher) Mask(logits []float32) error {
	m.work = 0
	if m.now.mask == nil {
		if len(m.stateOf) >= maxStates || m.masks > maxMasks || len(m.frames) > maxFrames/2 {
			m.forget()
		}
		mask, err := m.vocab.mask(m, m.now)
		if err != nil {
			return err
		}
		m.now.mask = mask
		m.masks += 8 * len(mask)
	}
	some := false
	for i := range logits {
		if m.now.mask[i/64]>>(i%64)&1 == 0 {
			logits[i] = float32(math.Inf(-1))
		} else {
			some = true
		}
	}
	if !some {
		return fmt.Errorf("%w: the model has no token that could come next", ErrForm)
	}
	return nil
}

// Accept goes on with a token that Mask has allowed. A token that ends the answer
// changes nothing.
func (m *Matcher) Accept(token int32) error {
	if m.vocab.stops(token) {
		return nil
	}
	s := m.now
	for _, b := range m.vocab.piece(token) {
		var err error
		if s, err = m.step(s, b); err != nil {
			return err
		}
	}
	if s == dead || s == m.now && len(m.vocab.piece(token)) == 0 {
		return fmt.Errorf("%w: token %d must not come here", ErrForm, token)
	}
	m.now = s
	return nil
}
