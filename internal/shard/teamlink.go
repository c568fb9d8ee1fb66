package shard

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"atoll/internal/core"
)

// ProtocolTeam is spoken between the leader and a follower of a team.
const ProtocolTeam = "atoll-team/1"

// Kinds of message between them.
const (
	teamStep = iota + 1
	teamPart
	teamQuit
)

// teamLink is a stream between the leader and a follower. Each of its messages is
// expected: of a part nothing is read that does not have the size that it must have.
type teamLink struct {
	r       *bufio.Reader
	quitted uint32 // the step that the other has quitted last

	// While it is watched: what a message begins with, and that its rest has been read.
	heads chan teamHead
	rest  chan struct{}

	mu     sync.Mutex // guards writes to stream, and out
	stream io.ReadWriteCloser
	out    []byte
}

func newTeamLink(s io.ReadWriteCloser) *teamLink {
	return &teamLink{r: bufio.NewReaderSize(s, 64<<10), stream: s}
}

var (
	// errTeam means that a team cannot go on.
	errTeam = errors.New("the team has broken up")
	// errQuit means that a member could not compute a step. The next goes on as ever.
	errQuit = errors.New("a member of the team cannot go on")
)

func broken(err error) error { return fmt.Errorf("%w: %w", errTeam, err) }

// send writes a message, which fill appends.
func (l *teamLink) send(kind byte, step uint32, fill func([]byte) []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = append(l.out[:0], 0, 0, 0, 0, kind) // the length, below
	l.out = fill(u32(l.out, step))
	n := len(l.out) - 4
	if n > maxMessage {
		return broken(fmt.Errorf("a message of %d bytes", n))
	}
	binary.LittleEndian.PutUint32(l.out, uint32(n))
	if _, err := l.stream.Write(l.out); err != nil {
		return broken(err)
	}
	return nil
}

// step tells a follower what is computed next, in stepForm.
func (l *teamLink) step(step uint32, what []byte) error {
	return l.send(teamStep, step, func(b []byte) []byte { return append(b, what...) })
}

// part sends what a member has computed for a step's so manieth gathering.
func (l *teamLink) part(step, gather uint32, member int, part []byte) error {
	return l.send(teamPart, step, func(b []byte) []byte {
		return append(append(u32(b, gather), byte(member)), part...)
	})
}

// quit says that a step cannot be computed.
func (l *teamLink) quit(step uint32, why error) error {
	return l.send(teamQuit, step, func(b []byte) []byte { return append(b, core.Clip(why.Error(), maxWords)...) })
}

// head is how a message begins; size bytes follow.
type teamHead struct {
	kind byte
	step uint32
	size int
}

// head returns how the next message begins. Its rest is to be read: by skip, why or body.
func (l *teamLink) head() (teamHead, error) {
	if l.heads == nil {
		return l.readHead()
	}
	h, ok := <-l.heads
	if !ok {
		return h, broken(io.ErrUnexpectedEOF)
	}
	return h, nil
}

// watch reads how messages begin until the link ends, and says why it has: so that this is
// known although nobody waits for a message.
func (l *teamLink) watch(ctx context.Context) error {
	defer close(l.heads)
	for {
		h, err := l.readHead()
		if err != nil {
			return err
		}
		l.heads <- h // has room: the one before was taken
		select {
		case <-l.rest:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (l *teamLink) readHead() (h teamHead, err error) {
	var b [9]byte
	if _, err := io.ReadFull(l.r, b[:]); err != nil {
		return h, broken(err)
	}
	n := binary.LittleEndian.Uint32(b[:])
	h = teamHead{b[4], binary.LittleEndian.Uint32(b[5:]), int(n) - 5}
	if n < 5 || n > maxMessage || h.kind < teamStep || h.kind > teamQuit {
		return h, broken(malformed("kind %d, %d bytes", h.kind, n))
	}
	return h, nil
}

// body reads the last bytes of a message.
func (l *teamLink) body(b []byte) error {
	if _, err := io.ReadFull(l.r, b); err != nil {
		return broken(err)
	}
	l.end()
	return nil
}

// skip passes over the rest of a message.
func (l *teamLink) skip(h teamHead) error {
	if _, err := l.r.Discard(h.size); err != nil {
		return broken(err)
	}
	l.end()
	return nil
}

// end says that the next message may come.
func (l *teamLink) end() {
	if l.rest != nil {
		l.rest <- struct{}{} // has room: it was taken before this one began
	}
}

// take reads the next part of a gathering, from one of the members in the set from, into
// its place in parts, and returns whose it is.
func (l *teamLink) take(step, gather uint32, parts [][]byte, from uint) (int, error) {
	h, err := l.head()
	switch {
	case err != nil:
		return 0, err
	case h.step == step && h.kind == teamQuit:
		return 0, l.why(h)
	case h.step != step || h.kind != teamPart || h.size < 5:
		return 0, broken(malformed("kind %d of step %d with %d bytes, in step %d", h.kind, h.step, h.size, step))
	}
	var b [5]byte
	if _, err := io.ReadFull(l.r, b[:]); err != nil {
		return 0, broken(err)
	}
	at, member := binary.LittleEndian.Uint32(b[:]), int(b[4])
	if at != gather || from>>member&1 == 0 || h.size-5 != len(parts[member]) {
		return 0, broken(malformed("%d bytes of member %d for gathering %d, in gathering %d", h.size-5, member, at, gather))
	}
	return member, l.body(parts[member])
}

// giveUp has a follower give up a step, and returns when nothing more comes of it.
func (l *teamLink) giveUp(step uint32, why error) error {
	said := make(chan error, 1)
	go func() { said <- l.quit(step, why) }() // the follower may be about to say the same
	err := l.drain(step)
	return errors.Join(err, <-said)
}

// drain passes over what a follower has sent for a step, up to its quit.
func (l *teamLink) drain(step uint32) error {
	for l.quitted != step {
		h, err := l.head()
		switch {
		case err != nil:
			return err
		case h.step != step || h.kind == teamStep:
			return broken(malformed("kind %d of step %d, after the end of step %d", h.kind, h.step, step))
		case h.kind == teamQuit:
			if err := l.why(h); errors.Is(err, errTeam) {
				return err
			}
		default:
			if err := l.skip(h); err != nil {
				return err
			}
		}
	}
	return nil
}

// why reads the reason of a quit.
func (l *teamLink) why(h teamHead) error {
	if h.size > maxWords {
		return broken(malformed("a reason of %d bytes", h.size))
	}
	b := make([]byte, h.size)
	if err := l.body(b); err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return broken(malformed("a reason that is no text"))
	}
	l.quitted = h.step
	return fmt.Errorf("%w: %s", errQuit, b)
}
