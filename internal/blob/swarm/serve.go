package swarm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/peer"
)

// What giving chunks may cost a node. A stream holds one buffer and no chunk.
const (
	maxStreams     = 64 // at a time
	maxPeerStreams = 8  // of one peer
	sendBuffer     = 64 << 10
	openTime       = 10 * time.Second // to say what is wanted
	takeTime       = time.Minute      // to take one message
	idleTime       = 10 * time.Minute // without a question
)

// holding is a content, all of it or a part.
type holding struct {
	io.ReaderAt
	part  *blob.Part // nil: all of it is there
	size  int64
	chunk int64
}

// Handlers answer peers that ask for chunks.
func (s *Swarm) Handlers() map[string]peer.Handler {
	return map[string]peer.Handler{Protocol: s.serve}
}

// serve gives chunks of one content until the peer has no more questions.
func (s *Swarm) serve(ctx context.Context, stream peer.Stream) {
	leave, err := s.admit(stream.Peer())
	if err != nil {
		s.refuse(stream, err)
		return
	}
	defer leave()
	h, release, err := s.opened(ctx, stream)
	if err != nil {
		s.refuse(stream, err)
		return
	}
	defer release()
	s.give(ctx, stream, h)
}

// refuse tells the peer why it gets nothing more. It may be gone, or not listening.
func (s *Swarm) refuse(stream peer.Stream, err error) {
	if errors.Is(err, io.EOF) {
		return
	}
	s.log.Debug("a peer that asked for chunks is left", "peer", stream.Peer().Node, "error", err)
	_ = stream.SetWriteDeadline(time.Now().Add(openTime))
	_, _ = stream.Write(sayNo(err.Error()))
}

// opened reads what a peer wants, and finds it.
func (s *Swarm) opened(ctx context.Context, stream peer.Stream) (*holding, func(), error) {
	if err := stream.SetReadDeadline(time.Now().Add(openTime)); err != nil {
		return nil, nil, err
	}
	a, err := readAsk(stream)
	if err != nil {
		return nil, nil, err
	}
	if a.kind != askOpen {
		return nil, nil, errFrame
	}
	if err := s.cfg.Allow(ctx, stream.Peer(), a.digest); err != nil {
		return nil, nil, err
	}
	return s.holding(ctx, &a)
}

// admit counts a stream.
func (s *Swarm) admit(p peer.Peer) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams >= maxStreams || s.byPeer[p] >= maxPeerStreams {
		return nil, core.Errorf(core.Throttled, "too many ask this node for chunks")
	}
	s.streams++
	s.byPeer[p]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.streams--
		if s.byPeer[p]--; s.byPeer[p] == 0 {
			delete(s.byPeer, p)
		}
	}, nil
}

// holding finds what is there of a content.
func (s *Swarm) holding(ctx context.Context, a *ask) (*holding, func(), error) {
	p, release, err := s.cfg.Store.Part(ctx, a.digest)
	if err == nil {
		if m := p.Manifest(); m.Size != a.size || m.Chunk != a.chunk {
			release()
			return nil, nil, core.Errorf(core.Invalid, "%s has %d bytes, here in chunks of %d", a.digest.Short(), m.Size, m.Chunk)
		}
		return &holding{ReaderAt: p, part: p, size: a.size, chunk: a.chunk}, release, nil
	}
	r, size, err := s.cfg.Store.Open(a.digest)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil, core.Errorf(core.NotFound, "nothing is here of %s", a.digest.Short())
	}
	if err != nil {
		return nil, nil, err
	}
	release = func() { _ = r.Close() } // nothing was written
	if size != a.size {
		release()
		return nil, nil, core.Errorf(core.Invalid, "%s has %d bytes", a.digest.Short(), size)
	}
	return &holding{ReaderAt: r, size: size, chunk: a.chunk}, release, nil
}

// give tells what is there, and sends what is asked for.
func (s *Swarm) give(ctx context.Context, stream peer.Stream, h *holding) {
	asked, ended := make(chan uint32, maxAsked), make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() { ended <- questions(stream, asked) })
	s.refuse(stream, s.send(ctx, &sender{stream: stream, h: h, buf: bufio.NewWriterSize(stream, sendBuffer)}, asked, ended))
	_ = stream.Close() // ends the reading
	reading.Wait()
}

// send writes messages until there is an error, which is io.EOF if the peer has ended it.
func (s *Swarm) send(ctx context.Context, w *sender, asked <-chan uint32, ended <-chan error) error {
	for {
		more, err := w.tell()
		if err != nil {
			return err
		}
		select {
		case n := <-asked:
			sent, err := w.chunk(n)
			s.sent.Add(sent)
			if err != nil {
				return err
			}
		case <-more:
		case err := <-ended:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// questions reads what is asked for, until the peer stops or asks for too much.
func questions(stream peer.Stream, asked chan<- uint32) error {
	for {
		if err := stream.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
			return err
		}
		a, err := readAsk(stream)
		if err != nil {
			return err
		}
		if a.kind != askChunk {
			return errFrame
		}
		select {
		case asked <- a.n:
		default:
			return core.Errorf(core.Throttled, "more than %d chunks were asked for at a time", maxAsked)
		}
	}
}

// sender writes a holder's messages.
type sender struct {
	stream peer.Stream
	h      *holding
	buf    *bufio.Writer
	told   int  // chunks of a part that the peer knows of
	begun  bool // it was told something
}

// tell tells of what the peer does not know yet, and returns what is closed when there
// is more.
func (w *sender) tell() (more <-chan struct{}, err error) {
	if err := w.stream.SetWriteDeadline(time.Now().Add(takeTime)); err != nil {
		return nil, err
	}
	if w.h.part == nil {
		if !w.begun {
			w.begun = true
			_, err = w.stream.Write(head(nil, tellAll, 0))
		}
		return nil, err
	}
	for {
		var news []uint32
		if news, more = w.h.part.Arrived(w.told); len(news) == 0 && w.begun {
			return more, nil
		}
		w.begun = true
		news = news[:min(len(news), maxHave)]
		if _, err := w.stream.Write(sayHave(news)); err != nil {
			return nil, err
		}
		w.told += len(news)
	}
}

// chunk sends a chunk, and returns how many bytes of it.
func (w *sender) chunk(n uint32) (int64, error) {
	off := int64(n) * w.h.chunk
	size := min(w.h.chunk, w.h.size-off)
	if size <= 0 || w.h.part != nil && !w.h.part.Has(int(n)) {
		return 0, core.Errorf(core.Invalid, "chunk %d is not here", n)
	}
	if err := w.stream.SetWriteDeadline(time.Now().Add(takeTime)); err != nil {
		return 0, err
	}
	w.buf.Reset(w.stream)
	if _, err := w.buf.Write(binary.BigEndian.AppendUint32(head(nil, tellChunk, int(size)+4), n)); err != nil {
		return 0, err
	}
	sent, err := io.Copy(w.buf, io.NewSectionReader(w.h, off, size))
	if err == nil && sent < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil { // half a message has left: there is no answer any more
		return sent, errors.Join(err, w.stream.Close())
	}
	return sent, w.buf.Flush()
}
