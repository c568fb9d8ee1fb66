// Package echo measures the way between two nodes, over the streams that they use: how
// long a word takes there and back, and how much goes through.
//
// On a stream of Protocol one side asks, with a number of bytes as uint32, little-endian,
// and the other answers with so many zeros.
package echo

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// Protocol of peer streams.
const Protocol = "atoll-echo/1"

// Way is what was measured.
type Way struct {
	RTT       time.Duration
	Bandwidth int64 // bits a second, towards who asks
}

// How a way is measured. The word is asked for often, since the shortest time is the
// way's own: the others have waited for something.
const (
	words   = 16
	bulk    = 1 << 20
	bulks   = 2
	maxAsks = 64
	maxTime = 30 * time.Second
)

// Serve answers until the stream ends, has lasted too long, or asks for too much.
func Serve(s net.Conn) {
	if s.SetDeadline(time.Now().Add(maxTime)) != nil {
		return
	}
	zeros := make([]byte, 64<<10)
	for left, asks := bulks*bulk+words, 0; asks < maxAsks; asks++ {
		var b [4]byte
		if _, err := io.ReadFull(s, b[:]); err != nil {
			return
		}
		n := binary.LittleEndian.Uint32(b[:])
		if n == 0 || int64(n) > int64(left) {
			return
		}
		left -= int(n)
		for n > 0 {
			piece := min(n, uint32(len(zeros)))
			if _, err := s.Write(zeros[:piece]); err != nil {
				return
			}
			n -= piece
		}
	}
}

// Measure asks over a stream, which is closed when ctx ends.
func Measure(ctx context.Context, s net.Conn) (Way, error) {
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	ask := func(times int, n uint32) (time.Duration, error) {
		least := maxTime
		for range times {
			began := time.Now()
			if _, err := s.Write(binary.LittleEndian.AppendUint32(nil, n)); err != nil {
				return 0, err
			}
			if k, err := io.CopyN(io.Discard, s, int64(n)); err != nil {
				return 0, fmt.Errorf("after %d of %d bytes: %w", k, n, err)
			}
			least = min(least, time.Since(began))
		}
		return least, nil
	}
	word, err := ask(words, 1)
	if err != nil {
		return Way{}, err
	}
	took, err := ask(bulks, bulk)
	if err != nil {
		return Way{}, err
	}
	// What takes hardly longer than a word is bounded by something else than the way.
	return Way{RTT: word, Bandwidth: int64(8 * bulk / max(took-word, 10*time.Microsecond).Seconds())}, nil
}
