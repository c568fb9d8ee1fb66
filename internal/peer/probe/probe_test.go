package probe

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"atoll/internal/peer"
)

// thin is a stream over a line that is as long and as thin as it is told to be.
type thin struct {
	net.Conn
	delay time.Duration // of each message
	rate  float64       // bytes a second; 0: any
}

func (t thin) Peer() peer.Peer { return peer.Peer{} }

func (t thin) Write(b []byte) (int, error) {
	time.Sleep(t.delay)
	if t.rate > 0 {
		time.Sleep(time.Duration(float64(len(b)) / t.rate * float64(time.Second)))
	}
	return t.Conn.Write(b)
}

// opener opens streams to a node that answers in that way.
func opener(line thin, answer peer.Handler) func(context.Context, peer.Address, string) (peer.Stream, error) {
	return func(context.Context, peer.Address, string) (peer.Stream, error) {
		near, far := net.Pipe()
		go func() { defer far.Close(); answer(context.Background(), thin{Conn: far, delay: line.delay}) }()
		line.Conn = near
		return line, nil
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, err := Measure(t.Context(), opener(thin{delay: 20 * time.Millisecond, rate: 1e6}, Answer), peer.Address{Node: "far"})
		if err != nil || w.Check() != nil {
			t.Fatal(w, err)
		}
		if ms := w.RTT().Seconds() * 1000; math.Abs(ms-40) > 0.1 || math.Abs(float64(w.Bandwidth)-8e6) > 8e4 || w.Node != "far" {
			t.Errorf("%+v of a line of 40 ms and 8 Mbit/s", w)
		}
	})
}

// A node that does not answer is given up, and one that says too much is left.
func TestOthersWhoMisbehave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := func(_ context.Context, s peer.Stream) { _, _ = io.Copy(io.Discard, s) }
		began := time.Now()
		if w, err := Measure(t.Context(), opener(thin{}, silent), peer.Address{}); err == nil || time.Since(began) > most+time.Second {
			t.Errorf("%+v after %s", w, time.Since(began))
		}
		for name, sizes := range map[string][]uint32{"nothing": {0}, "too much": {math.MaxUint32}, "too much in all": {load, load, load}} {
			s, _ := opener(thin{}, Answer)(t.Context(), peer.Address{}, Protocol)
			answers := 0
			for _, n := range sizes {
				if _, err := s.Write(append(binary.BigEndian.AppendUint32(nil, n), make([]byte, min(n, load))...)); err != nil {
					break
				}
				if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
					break
				}
				answers++
			}
			if answers == len(sizes) {
				t.Errorf("%s: all %d are answered", name, answers)
			}
			_ = s.Close()
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, w := range []Way{{"a", 0, 1}, {"a", 1, 0}, {"a", -1, 1}, {"a", math.MaxInt64, 1}} {
		if w.Check() == nil {
			t.Errorf("%+v passes", w)
		}
	}
}
