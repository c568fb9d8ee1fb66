package swarm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/peer"
)

const (
	askAtOnce  = 4 // chunks asked of one peer
	readBuffer = 64 << 10
)

// source is one who has chunks: a peer that is connected, or the origin.
type source struct {
	t      *transfer
	key    core.Digest
	origin bool

	// Guarded by transfer.mu:
	all    bool
	some   []bool // by chunk
	listed bool   // among transfer.sources: it has told what it has

	stream peer.Stream
	stall  *time.Timer   // ends the stream
	wake   chan struct{} // holds one when there may be something to ask
	mu     sync.Mutex    // guards what follows
	asked  []int         // in order
}

func (s *source) has(n int) bool { return s.all || s.some != nil && s.some[n] }

// errWrong is a source's end for good.
var errWrong = errors.New("it has sent what it was not asked for")

// fromPeer asks a peer for chunks until the transfer ends or the peer is caught sending
// wrong ones.
func (t *transfer) fromPeer(a peer.Address) {
	greeted := sync.OnceFunc(t.greeted)
	defer greeted()
	pause := retryMin
	for t.ctx.Err() == nil {
		began := time.Now()
		err := t.connect(a, greeted)
		greeted()
		if t.ctx.Err() != nil {
			return
		}
		err = fmt.Errorf("node %s: %w", a.Node, err)
		t.note(err)
		if errors.Is(err, blob.ErrMismatch) || errors.Is(err, errWrong) || errors.Is(err, errFrame) {
			t.s.log.Warn("a peer is asked for no more chunks of a content: what it sends is wrong", "digest", t.digest, "peer", a.Node, "error", err)
			return
		}
		t.s.log.Debug("a peer brings no chunks", "digest", t.digest, "peer", a.Node, "error", err)
		if time.Since(began) > retryMax {
			pause = retryMin
		}
		select {
		case <-time.After(pause):
		case <-t.ctx.Done():
		}
		pause = min(2*pause, retryMax)
	}
}

// note keeps a source's trouble, for those who wait in vain.
func (t *transfer) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trouble = err
}

// connect asks a peer for chunks over one stream, until it ends.
func (t *transfer) connect(a peer.Address, met func()) error {
	ctx, stop := context.WithTimeout(t.ctx, dialTime)
	stream, err := t.s.cfg.Open(ctx, a, Protocol)
	stop()
	if err != nil {
		return err
	}
	closed := context.AfterFunc(t.ctx, func() { _ = stream.Close() })
	defer closed()
	defer stream.Close()
	s := &source{t: t, key: a.Key, some: make([]bool, t.m.Chunks()), stream: stream, wake: make(chan struct{}, 1)}
	stalled := make(chan struct{})
	s.stall = time.AfterFunc(stallAfter, func() { close(stalled); _ = stream.Close() })
	defer s.stall.Stop()
	if _, err := stream.Write((&ask{kind: askOpen, digest: t.digest, size: t.m.Size, chunk: t.m.Chunk}).append(nil)); err != nil {
		return err
	}
	defer t.forget(s)
	var asking sync.WaitGroup
	defer asking.Wait()
	ended, end := context.WithCancel(t.ctx)
	defer end()
	asking.Go(func() { s.ask(ended) })
	err = s.read(met)
	_ = stream.Close() // so that asking ends
	select {
	case <-stalled:
		return fmt.Errorf("it has brought nothing for %v", stallAfter)
	default:
		return err
	}
}

// forget takes leave of a source; what was asked of it is open to others.
func (t *transfer) forget(s *source) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, other := range t.sources {
		if other == s {
			t.sources = append(t.sources[:i:i], t.sources[i+1:]...)
			break
		}
	}
	for n := range t.chunks {
		c := &t.chunks[n]
		if c.asked == s {
			c.asked = nil
		}
		if s.has(n) {
			c.holders--
			if !s.all {
				c.fellows--
			}
		}
	}
	t.tell()
}

// read takes what the peer sends.
func (s *source) read(met func()) error {
	r := bufio.NewReaderSize(s.stream, readBuffer)
	buf := make([]byte, s.t.m.Chunk)
	for {
		m, err := readTell(r, buf)
		if err != nil {
			return err
		}
		switch m.kind {
		case tellNo:
			return fmt.Errorf("it answers: %s", m.text)
		case tellAll, tellHave:
			if err := s.learn(&m); err != nil {
				return err
			}
			met()
		case tellChunk:
			if err := s.answered(int(m.n)); err != nil {
				return err
			}
			if err := s.t.take(s, int(m.n), m.data); err != nil {
				return err
			}
		}
	}
}

// learn enters what the peer has.
func (s *source) learn(m *tell) error {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.all {
		return fmt.Errorf("%w: chunks after all of them", errFrame)
	}
	if m.kind == tellAll {
		for n := range t.chunks {
			if t.chunks[n].holders++; s.some[n] {
				t.chunks[n].holders--
				t.chunks[n].fellows--
			}
		}
		s.all = true
	}
	for _, n := range m.chunks {
		if int64(n) >= int64(len(s.some)) || s.some[n] {
			return fmt.Errorf("%w: chunk %d of %d, or twice", errFrame, n, len(s.some))
		}
		c := &t.chunks[n]
		if c.fellows == 0 {
			c.open = time.Now()
		}
		s.some[n] = true
		c.holders++
		c.fellows++
	}
	if !s.listed {
		s.listed = true
		if len(t.sources) == 0 {
			t.brought = time.Now()
		}
		t.sources = append(t.sources, s)
		s.calm()
	}
	s.rouse()
	return nil
}

// answered takes a chunk off those that were asked for.
func (s *source) answered(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 || s.asked[0] != n {
		return fmt.Errorf("chunk %d: %w", n, errWrong)
	}
	if s.asked = s.asked[1:]; len(s.asked) > 0 {
		s.stall.Reset(stallAfter)
	} else {
		s.stall.Stop()
	}
	s.rouse()
	return nil
}

// rouse has ask look again.
func (s *source) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// calm says that nothing is expected of the peer as yet.
func (s *source) calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		s.stall.Stop()
	}
}

// ask asks for chunks while there are some to ask for.
func (s *source) ask(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		full := len(s.asked) >= askAtOnce
		s.mu.Unlock()
		if full {
			select {
			case <-s.wake:
			case <-ctx.Done():
			}
			continue
		}
		n, ok, changed := s.t.pick(s)
		if !ok {
			pause(ctx, changed, s.wake)
			continue
		}
		s.mu.Lock()
		if s.asked = append(s.asked, n); len(s.asked) == 1 {
			s.stall.Reset(stallAfter)
		}
		s.mu.Unlock()
		if _, err := s.stream.Write((&ask{kind: askChunk, n: uint32(n)}).append(nil)); err != nil {
			return // the reader has the reason
		}
	}
}

// pause waits until there may be something to ask for: something changes, or what was
// left to somebody else has been left too long.
func pause(ctx context.Context, changed, wake <-chan struct{}) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-changed:
	case <-wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}
