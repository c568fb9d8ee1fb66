// Package probe measures the way to another node, for whoever plans what several nodes
// compute together: how long a word takes there and back, and how much fits through.
//
// The one that measures sends messages, each its size (uint32, big-endian) and as many
// bytes; the other answers each with one byte when it has all of it.
package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"atoll/internal/core"
	"atoll/internal/peer"
)

// Protocol is that of the streams.
const Protocol = "atoll-probe/1"

// Way is what the way to a node is like.
type Way struct {
	Node      core.NodeID `json:"node"`
	RTTMicros int64       `json:"rtt_us"`
	Bandwidth int64       `json:"bits_per_s"`
}

// RTT is how long a word takes there and back.
func (w *Way) RTT() time.Duration { return time.Duration(w.RTTMicros) * time.Microsecond }

// Check refuses what nobody can have measured.
func (w *Way) Check() error {
	if len(w.Node) > maxName || w.RTTMicros < 1 || w.RTTMicros > most.Microseconds() || w.Bandwidth < 1 {
		return core.Errorf(core.Invalid, "the way to %.80s takes %d µs and carries %d bit/s: want 1 µs to %s, and at least 1 bit/s", w.Node, w.RTTMicros, w.Bandwidth, most)
	}
	return nil
}

// Bounds of a measurement.
const (
	words  = 5         // of a byte; the fastest counts
	load   = 256 << 10 // bytes, sent twice: the first makes TCP's window wide
	most   = 10 * time.Second
	budget = words + 2*load

	maxName = 256
)

// Measure measures the way to a node.
func Measure(ctx context.Context, open func(context.Context, peer.Address, string) (peer.Stream, error), to peer.Address) (Way, error) {
	ctx, stop := context.WithTimeout(ctx, most)
	defer stop()
	s, err := open(ctx, to, Protocol)
	if err != nil {
		return Way{}, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	rtt := most
	for range words {
		took, err := say(s, 1)
		if err != nil {
			return Way{}, fmt.Errorf("the way to %s: %w", to.Node, err)
		}
		rtt = min(rtt, took)
	}
	var took time.Duration
	for range 2 {
		if took, err = say(s, load); err != nil {
			return Way{}, fmt.Errorf("the way to %s: %w", to.Node, err)
		}
	}
	sent := max(took-rtt, time.Microsecond)
	return Way{Node: to.Node, RTTMicros: max(rtt.Microseconds(), 1), Bandwidth: int64(8 * load / sent.Seconds())}, nil
}

// say sends a message of so many bytes, and returns how long the answer took.
func say(s io.ReadWriter, bytes int) (time.Duration, error) {
	m := make([]byte, 4+bytes)
	binary.BigEndian.PutUint32(m, uint32(bytes))
	began := time.Now()
	if _, err := s.Write(m); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(s, m[:1])
	return time.Since(began), err
}

// Answer is the peer.Handler of the other side. Whoever says more than Measure does, or
// takes longer, is left.
func Answer(_ context.Context, s peer.Stream) {
	if s.SetDeadline(time.Now().Add(most)) != nil {
		return
	}
	for left := budget; ; {
		var head [4]byte
		if _, err := io.ReadFull(s, head[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(head[:]))
		if left -= n; n < 1 || left < 0 {
			return
		}
		if _, err := io.CopyN(io.Discard, s, int64(n)); err != nil {
			return
		}
		if _, err := s.Write(head[:1]); err != nil {
			return
		}
	}
}
