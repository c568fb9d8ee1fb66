package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"atoll/internal/core"
	"atoll/internal/peer"
	"atoll/internal/planted"
)

// Accept reads a stream of rows until it ends or another takes its place.
func (s *Stage) Accept(stream io.ReadWriteCloser) error {
	d := newDecoder(stream)
	h, err := d.hello()
	if err != nil {
		_ = stream.Close()
		return err
	}
	return s.accept(h, d, stream, peer.Peer{})
}

// accept is Accept of a stream whose first message has been read.
func (s *Stage) accept(h *hello, d *decoder, stream io.ReadWriteCloser, from peer.Peer) error {
	defer stream.Close()
	if !s.first { // the head gets tokens
		d.row = s.rowsIn.Bytes()
	}
	logs, err := s.greet(h, stream, from)
	if err != nil {
		return err
	}
	e := newEncoder(stream)
	if err := errors.Join(e.write(&have{logs}), e.flush()); err != nil {
		return err
	}
	for {
		m, err := d.read()
		if err != nil {
			return err
		}
		if err := s.apply(m, stream); err != nil {
			return err
		}
	}
}

// errStale means that a stream is of an epoch that is over, or not yet.
var errStale = errors.New("shard: the stream is of another epoch")

// greet makes a stream the one that is read, and says how far all logs are.
func (s *Stage) greet(h *hello, stream io.Closer, from peer.Peer) ([]length, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, errStopped
	}
	if h.Line != s.line || h.Epoch != s.epoch && !planted.Stale || h.Stage != s.place {
		return nil, fmt.Errorf("%w: line %x, epoch %d, place %d; this is place %d of line %x in epoch %d", errStale, h.Line[:4], h.Epoch, h.Stage, s.place, s.line[:4], s.epoch)
	}
	if s.prev != (peer.Peer{}) && s.prev != from {
		return nil, fmt.Errorf("%w: %s is not before this stage", errStale, from.Node)
	}
	if s.in != nil {
		_ = s.in.Close()
	}
	s.in = stream
	logs := make([]length, 0, len(s.order))
	for _, id := range s.order {
		logs = append(logs, length{id, uint32(s.seqs[id].received)})
	}
	return logs, nil
}

// apply does what a message says, if its stream is still the one that is read.
func (s *Stage) apply(m any, stream io.Closer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in != stream {
		return errStale
	}
	switch m := m.(type) {
	case *opened:
		if s.first {
			return malformed("a sequence for the head")
		}
		return s.open(m, nil)
	case *rows:
		return s.takeRows(m)
	case *ended:
		if !s.first { // the head knows best
			s.forget(m.Sequence)
		}
	case *failed:
		if q := s.seqs[m.Sequence]; q != nil && q.why == "" {
			q.why = m.Why
			s.grown.Broadcast()
		}
		if s.arrived != nil {
			s.arrived(nil)
		}
	case *drawn:
		if s.arrived == nil {
			return malformed("tokens, for a stage that is not the head")
		}
		s.arrived(m.Tokens)
	default:
		return malformed("%T in the middle of a stream", m)
	}
	return nil
}

// takeRows adds rows to their sequences; mu is held.
func (s *Stage) takeRows(m *rows) error {
	if s.first {
		return malformed("rows for the head")
	}
	if err := s.rowsIn.Check(m.Data); err != nil {
		return malformed("rows: %v", err)
	}
	data, row := m.Data, s.rowsIn.Bytes()
	for _, span := range m.Spans {
		mine := data[:int(span.Count)*row]
		data = data[len(mine):]
		q := s.seqs[span.Sequence]
		if q == nil || q.why != "" {
			continue // it ended while this was on its way
		}
		if int(span.First)+int(span.Count) > int(q.Limit) {
			return malformed("positions up to %d of a sequence of %d", span.First+span.Count, q.Limit)
		}
		if q.take(int(span.First), mine, row) {
			return malformed("positions from %d on, after %d", span.First, q.received)
		}
	}
	s.came.Signal()
	return nil
}

// How a stage tries to reach who is behind it.
const (
	retryPause = 10 * time.Millisecond
	maxOut     = 256 // rows of one message
)

// send keeps whoever is behind up to date, until ctx ends.
func (s *Stage) send(ctx context.Context, a Assignment) {
	for ctx.Err() == nil {
		err := s.sendTo(ctx, a)
		if ctx.Err() != nil {
			return
		}
		s.cfg.Log.Info("what is behind this stage does not get its rows", "line", fmt.Sprintf("%x", a.Line[:4]), "epoch", a.Epoch, "place", a.Place, "error", err)
		s.mu.Lock()
		s.trouble = err.Error()
		s.mu.Unlock()
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}

// sendTo sends over one stream.
func (s *Stage) sendTo(ctx context.Context, a Assignment) error {
	stream, err := a.Next(ctx)
	if err != nil {
		return err
	}
	var listening sync.WaitGroup
	defer listening.Wait()
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { _ = stream.Close() })()
	next := a.Place + 1
	if s.last {
		next = 0
	}
	e := newEncoder(stream)
	if err := errors.Join(e.write(&hello{a.Line, a.Epoch, next}), e.flush()); err != nil {
		return err
	}
	m, err := newDecoder(stream).read()
	if err != nil {
		return err
	}
	h, ok := m.(*have)
	if !ok {
		return malformed("an answer to hello that is not have")
	}
	s.mu.Lock()
	s.trouble = ""
	s.mu.Unlock()
	broken := make(chan error, 1)
	listening.Go(func() { // the receiver says nothing more: whatever comes is the stream's end
		var b [1]byte
		_, err := stream.Read(b[:])
		broken <- errors.Join(errors.New("the stream behind has ended"), err)
		s.mu.Lock()
		s.grown.Broadcast()
		s.mu.Unlock()
	})
	o := &outgoing{s: s, sent: map[uint32]int{}, known: map[uint32]bool{}, mine: map[uint32]bool{}, failed: map[uint32]bool{}, over: map[uint32]bool{}}
	for _, l := range h.Logs {
		o.sent[l.Sequence], o.known[l.Sequence] = int(l.Positions), true
	}
	for {
		messages, err := o.next(ctx, broken)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := e.write(m); err != nil {
				return err
			}
		}
		if err := e.flush(); err != nil {
			return err
		}
	}
}

// outgoing is how far one stream is.
type outgoing struct {
	s      *Stage
	sent   map[uint32]int  // positions that the receiver has of each sequence
	known  map[uint32]bool // sequences that it has
	mine   map[uint32]bool // that this stage has had since
	failed map[uint32]bool // of which it knows that they cannot go on
	over   map[uint32]bool // of Stage.live: of which it knows that they have ended
}

// next waits until there is something to send.
func (o *outgoing) next(ctx context.Context, broken <-chan error) ([]any, error) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		select {
		case err := <-broken:
			return nil, err
		default:
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if m := o.collect(); len(m) > 0 {
			return m, nil
		}
		s.grown.Wait()
	}
}

// end says that a sequence is over.
func (o *outgoing) end(id uint32) any {
	delete(o.mine, id)
	delete(o.known, id)
	delete(o.sent, id)
	delete(o.failed, id)
	if _, ok := o.s.live[id]; ok {
		o.over[id] = true
	}
	return &ended{id}
}

// collect makes messages of all that the receiver lacks, or of a good piece of it;
// mu is held.
func (o *outgoing) collect() (out []any) {
	s := o.s
	for id := range o.mine {
		if s.seqs[id] == nil {
			out = append(out, o.end(id))
		}
	}
	for id, over := range s.live {
		if over && !o.over[id] {
			out = append(out, o.end(id))
		}
	}
	var r rows
	var tokens drawn
	room, row := maxOut, s.rowsOut.Bytes()
	for _, id := range s.order {
		q := s.seqs[id]
		o.mine[id] = true
		if !o.known[id] {
			o.known[id] = true
			if !s.last { // the head has opened it
				m := q.opened
				out = append(out, &m)
			}
		}
		if q.why != "" {
			if !o.failed[id] {
				o.failed[id] = true
				out = append(out, &failed{id, core.Clip(q.why, maxWords)})
			}
			continue
		}
		from, to := o.sent[id], q.logged(s.last)
		if s.last {
			from = max(from, int(q.Prompt))
		}
		n := min(to-from, room)
		if n <= 0 {
			continue
		}
		room -= n
		o.sent[id] = from + n
		if s.last {
			at := from - int(q.Prompt)
			tokens.Tokens = append(tokens.Tokens, q.drawn[at:at+n]...)
			continue
		}
		r.Spans = append(r.Spans, span{id, uint32(from), uint32(n)})
		r.Data = append(r.Data, q.out[from*row:(from+n)*row]...)
	}
	if len(r.Spans) > 0 {
		out = append(out, &r)
	}
	if len(tokens.Tokens) > 0 {
		out = append(out, &tokens)
	}
	return out
}

// Live are the sequences under way, for an Assignment.
func (s *Stage) Live() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}
