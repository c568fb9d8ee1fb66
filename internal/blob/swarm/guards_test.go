package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/peer"
)

// refusal is what a holder says in place of an answer to what is asked.
func refusal(t *testing.T, r io.Reader) string {
	t.Helper()
	for {
		m, err := readTell(r, make([]byte, testChunk))
		if err != nil {
			t.Fatalf("no refusal: %v", err)
		}
		if m.kind == tellNo {
			return m.text
		}
	}
}

// Who has some chunks gives those, and no others.
func TestPartialHolder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		a := w.node("a", nil)
		f := w.file(a)
		defer f.Close()
		if err := f.Ensure(t.Context(), blob.Range{Size: 3 * testChunk}); err != nil {
			t.Fatal(err)
		}
		conn := w.dial("me", a)
		open := &ask{kind: askOpen, digest: w.m.Digest, size: w.m.Size, chunk: testChunk}
		w.wg.Go(func() { _, _ = conn.Write((&ask{kind: askChunk, n: 5}).append(open.append(nil))) })
		if text := refusal(t, conn); !strings.Contains(text, "chunk 5 is not here") {
			t.Errorf("refused with %q", text)
		}
	})
}

// Many peers together cannot take more streams than a node serves.
func TestAllStreamsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		first := w.node("first", nil)
		w.holds(first)
		for i := range maxStreams {
			w.dial(core.NodeID(fmt.Sprintf("peer-%d", i)), first)
		}
		synctest.Wait()
		if text := refusal(t, w.dial("one-more", first)); !strings.Contains(text, "too many") {
			t.Errorf("refused with %q", text)
		}
	})
}

// A peer that tells of chunks that there are not, or of one twice, is dropped.
func TestWrongHaves(t *testing.T) {
	t.Parallel()
	for name, said := range map[string][]byte{
		"beyond the last":  sayHave([]uint32{10}),
		"far beyond":       sayHave([]uint32{1<<32 - 1}),
		"twice":            sayHave([]uint32{3, 3}),
		"all after some":   append(sayHave([]uint32{3}), append(head(nil, tellAll, 0), sayHave([]uint32{4})...)...),
		"a number cut off": head(nil, tellHave, 3),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 10)
				w.impostor("liar", func(_ context.Context, s peer.Stream) {
					_, _ = s.Write(said)
					_, _ = io.Copy(io.Discard, s)
				})
				a := w.node("a", nil)
				w.fetch(a)
				a.Close()
				if log := a.log.String(); strings.Count(log, "asked for no more chunks") != 1 || !strings.Contains(log, "not the protocol") {
					t.Errorf("log: %s", log)
				}
			})
		})
	}
}

// The origin's manifest must be of what was asked for.
func TestManifestOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10)
	other, err := blob.Describe(t.Context(), bytes.NewReader(noise(5000)), testChunk)
	if err != nil {
		t.Fatal(err)
	}
	w.hub.of = other
	if _, err := w.node("a", nil).Open(t.Context(), w.m.Digest, w.m.Size); !errors.Is(err, blob.ErrManifest) {
		t.Errorf("a manifest of another content: %v", err)
	}
}

// The stream to a peer that says or brings nothing is ended, so that others can have it.
func TestSilentPeerIsLeft(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]func(w *world) peer.Handler{
		"no greeting": func(*world) peer.Handler {
			return func(_ context.Context, s peer.Stream) { _, _ = io.Copy(io.Discard, s) }
		},
		"no chunks": func(w *world) peer.Handler {
			return w.answers(func(peer.Stream, uint32, []byte) bool { return false }) // until the stream ends
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 10)
				left := make(chan time.Duration, 100)
				w.impostor("silent", func(ctx context.Context, s peer.Stream) {
					began := time.Now()
					silent(w)(ctx, s)
					left <- time.Since(began)
				})
				a := w.node("a", func(cfg *Config) { cfg.Origin = &silentHub{cfg.Origin} })
				f := w.file(a)
				defer f.Close()
				ctx, stop := context.WithTimeout(t.Context(), 3*stallAfter)
				defer stop()
				if err := f.Whole(ctx); err == nil || !strings.Contains(err.Error(), "it has brought nothing for") {
					t.Errorf("who waits is told: %v", err)
				}
				if took := <-left; took < stallAfter || took > stallAfter+time.Second {
					t.Errorf("it was left after %v", took)
				}
			})
		})
	}
}

// silentHub answers nothing.
type silentHub struct{ Origin }

func (*silentHub) Read(ctx context.Context, _ core.Digest, _ []byte, _ int64) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// What a read waits for comes before the rest.
func TestReadsComeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, first := peersAlone(t, 300)
		f := w.file(w.node("a", nil))
		defer f.Close()
		w.wg.Go(func() { _ = f.Whole(t.Context()) }) // it may be ended before
		for n := range 10 {
			before := first.Moved().Sent
			if _, err := f.ReadAt(make([]byte, 1), int64(29*n+7)*testChunk); err != nil {
				t.Fatal(err)
			}
			if others := (first.Moved().Sent-before)/testChunk - 1; others > 2*askAtOnce {
				t.Errorf("%d other chunks were sent before the one that a read waits for", others)
			}
		}
	})
}

// While a peer that has all brings chunks the origin is left alone.
func TestPeersSpareTheOrigin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 100)
		first := w.node("first", nil)
		w.holds(first)
		w.fetch(w.node("a", nil))
		if reads := w.hub.reads.Load(); reads != 0 {
			t.Errorf("%d chunks came from the hub", reads)
		}
	})
}

// What a fellow has is not asked of those who have all, however little they have to do.
func TestFellowsSpareTheFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, first := peersAlone(t, 100)
		f := w.file(w.node("a", nil))
		defer f.Close()
		if err := f.Ensure(t.Context(), blob.Range{Size: 90 * testChunk}); err != nil {
			t.Fatal(err)
		}
		before := first.Moved().Sent
		w.fetch(w.node("b", nil))
		if sent := (first.Moved().Sent - before) / testChunk; sent > 10+2*askAtOnce {
			t.Errorf("%d chunks were asked of the first holder, 10 of which a fellow has not", sent)
		}
	})
}

// A read that waits ends with its file, also while others use the same content.
func TestCloseEndsReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		a := w.node("a", func(cfg *Config) { cfg.Origin = &silentHub{cfg.Origin} })
		f, other := w.file(a), w.file(a)
		ended := make(chan error, 1)
		go func() {
			_, err := f.ReadAt(make([]byte, 1), 0)
			ended <- err
		}()
		synctest.Wait()
		f.Close()
		synctest.Wait()
		select {
		case err := <-ended:
			if !errors.Is(err, errShut) {
				t.Errorf("it has ended with %v", err)
			}
		default:
			t.Error("it still waits")
		}
		other.Close()
	})
}
