package echo_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"atoll/internal/peer"
	"atoll/internal/peer/echo"
)

// pair is two ends of a way.
func pair(t *testing.T, c peer.Conditions) (asks, answers net.Conn) {
	t.Helper()
	m := peer.NewMemory()
	m.Line("a", "b", c)
	l, err := m.Listen("b")
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		came <- c
	}()
	asks, err = m.Dialler("a")(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	return asks, <-came
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	for _, c := range []peer.Conditions{
		{RTT: 200 * time.Microsecond, Bandwidth: 1_000_000_000}, {RTT: 30 * time.Millisecond, Bandwidth: 20_000_000},
	} {
		synctest.Test(t, func(t *testing.T) {
			asks, answers := pair(t, c)
			done := make(chan struct{})
			go func() { defer close(done); echo.Serve(answers); _ = answers.Close() }()
			w, err := echo.Measure(t.Context(), asks)
			if err != nil || w.RTT < c.RTT || w.RTT > c.RTT*11/10 || w.Bandwidth < c.Bandwidth*9/10 || w.Bandwidth > c.Bandwidth*11/10 {
				t.Errorf("%+v, %v, want %+v", w, err, c)
			}
			_ = asks.Close()
			<-done
		})
	}
}

// Nobody has more sent than a measurement takes, nor a stream for long.
func TestServeIsBounded(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]uint32{"nothing": 0, "much at once": 1 << 30, "much in all": 1 << 20} {
		synctest.Test(t, func(t *testing.T) {
			asks, answers := pair(t, peer.Conditions{})
			go func() { echo.Serve(answers); _ = answers.Close() }()
			total := int64(0)
			for range 1000 {
				if _, err := asks.Write(binary.LittleEndian.AppendUint32(nil, n)); err != nil {
					break
				}
				k, err := io.CopyN(io.Discard, asks, int64(max(n, 1)))
				if total += k; err != nil {
					break
				}
			}
			if total > 4<<20 {
				t.Errorf("%s: %d bytes were sent", name, total)
			}
			_ = asks.Close()
		})
	}
	synctest.Test(t, func(t *testing.T) {
		asks, answers := pair(t, peer.Conditions{})
		echo.Serve(answers) // who asks says nothing
		_, _ = asks.Close(), answers.Close()
	})
}

// A measurement ends with its context, whatever the other side does.
func TestMeasureEnds(t *testing.T) {
	t.Parallel()
	asks, answers := net.Pipe()
	defer answers.Close()
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		_, _ = io.ReadFull(answers, make([]byte, 4))
		stop()
	}()
	if _, err := echo.Measure(ctx, asks); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}
