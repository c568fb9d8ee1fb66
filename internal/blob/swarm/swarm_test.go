package swarm

import (
	"bytes"
	"context"
	"encoding/binary"
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

// Of three nodes that fetch at once each gets all of it, and little more than one copy
// leaves the one who has it.
func TestThreeFetchAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, first := peersAlone(t, 300)
		a, b, c := w.node("a", nil), w.node("b", nil), w.node("c", nil)
		w.fetch(a, b, c)
		if copies := float64(first.Moved().Sent) / float64(w.m.Size); copies > 1.3 || copies < 1 {
			t.Errorf("%.2f copies have left the first holder", copies)
		}
		for _, n := range []*node{a, b, c} {
			if got := n.Moved().FromPeers; got < w.m.Size || got > w.m.Size*11/10 {
				t.Errorf("%s has fetched %d bytes of %d", n.address.Node, got, w.m.Size)
			}
		}
	})
}

// The hub gives each chunk about once, too, where it alone has them.
func TestThreeFetchFromTheHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300)
		w.fetch(w.node("a", slow), w.node("b", slow), w.node("c", slow))
		if copies := float64(w.hub.reads.Load()) / 300; copies > 1.3 || copies < 1 {
			t.Errorf("%.2f copies have left the hub", copies)
		}
	})
}

// slow gives a node a line to the hub like those to the others.
func slow(cfg *Config) { cfg.Origin = &slowHub{cfg.Origin} }

type slowHub struct{ Origin }

func (h *slowHub) Read(ctx context.Context, d core.Digest, b []byte, off int64) error {
	time.Sleep(2 * time.Millisecond) //nolint:forbidigo // on the clock of synctest
	return h.Origin.Read(ctx, d, b, off)
}

// A peer that sends something else is found out by its first chunk, and costs nobody
// anything but that.
func TestWrongChunks(t *testing.T) {
	t.Parallel()
	spoiled := func(s peer.Stream, n uint32, data []byte) bool {
		data[len(data)/2]++
		_, err := s.Write(append(binary.BigEndian.AppendUint32(head(nil, tellChunk, len(data)+4), n), data...))
		return err == nil
	}
	for name, c := range map[string]struct {
		send func(s peer.Stream, n uint32, data []byte) bool
		says string
	}{
		"spoiled": {spoiled, "is not what the manifest says"},
		"another chunk": {func(s peer.Stream, n uint32, data []byte) bool {
			_, err := s.Write(append(binary.BigEndian.AppendUint32(head(nil, tellChunk, len(data)+4), n+1), data...))
			return err == nil
		}, "sent what it was not asked for"},
		"too much": {func(s peer.Stream, n uint32, data []byte) bool {
			_, err := s.Write(append(binary.BigEndian.AppendUint32(head(nil, tellChunk, 2*testChunk+4), n), make([]byte, 2*testChunk)...))
			return err == nil
		}, "not the protocol"},
		"chunks that are none": {func(s peer.Stream, _ uint32, _ []byte) bool {
			_, err := s.Write(sayHave([]uint32{1 << 30}))
			return err == nil
		}, "not the protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 40)
				w.hub.fails.Store(true)
				first := w.node("first", nil)
				w.holds(first)
				w.impostor("liar", w.answers(c.send))
				a := w.node("a", nil)
				w.fetch(a)
				if got := a.Moved().FromPeers; got != w.m.Size {
					t.Errorf("%d bytes were taken, of %d", got, w.m.Size)
				}
				a.Close()
				if log := a.log.String(); strings.Count(log, "asked for no more chunks") != 1 || !strings.Contains(log, "peer=liar") || !strings.Contains(log, c.says) {
					t.Errorf("log: %s", log)
				}
			})
		})
	}
}

// A peer that keeps what it was asked for to itself holds nobody up for long.
func TestStalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := peersAlone(t, 40)
		w.impostor("silent", w.answers(func(peer.Stream, uint32, []byte) bool { return false }))
		a := w.node("a", nil)
		began := time.Now()
		w.fetch(a)
		if took := time.Since(began); took > 2*lateAfter {
			t.Errorf("it took %v", took)
		}
	})
}

// One that is slow, and brings what it was asked for, is not dropped, nor is one that has
// nothing as yet.
func TestSlowIsNotSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		w.hub.fails.Store(true)
		w.impostor("slow", w.answers(func(s peer.Stream, n uint32, data []byte) bool {
			time.Sleep(stallAfter * 2 / 3)
			_, err := s.Write(append(binary.BigEndian.AppendUint32(head(nil, tellChunk, len(data)+4), n), data...))
			return err == nil
		}))
		w.impostor("poor", func(_ context.Context, s peer.Stream) {
			_, _ = s.Write(sayHave(nil))
			_, _ = io.Copy(io.Discard, s)
		})
		a := w.node("a", nil)
		w.fetch(a)
		a.Close()
		if strings.Contains(a.log.String(), "brought nothing") {
			t.Errorf("log: %s", &a.log)
		}
	})
}

// What nobody brings comes from the hub; who waits in vain is told why.
func TestOriginIsTheLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 40)
		w.impostor("silent", w.answers(func(peer.Stream, uint32, []byte) bool { return false }))
		w.fetch(w.node("a", nil))
		if got := w.hub.reads.Load(); got != 40 {
			t.Errorf("the hub was asked for %d chunks", got)
		}
		w.hub.fails.Store(true)
		b := w.node("b", func(cfg *Config) {
			cfg.Sources = func(core.Digest) []peer.Address { return []peer.Address{address("silent")} }
		})
		f := w.file(b)
		defer f.Close()
		ctx, stop := context.WithTimeout(t.Context(), 2*stallAfter)
		defer stop()
		if err := f.Whole(ctx); !errors.Is(err, errHub) || !strings.Contains(err.Error(), "node silent: it has brought nothing for 30s") {
			t.Errorf("with a silent peer and no hub: %v", err)
		}
	})
}

func TestOriginFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		a := w.node("a", nil)
		w.hub.fails.Store(true)
		f := w.file(a)
		if err := f.Whole(t.Context()); !errors.Is(err, errHub) {
			t.Errorf("no hub: %v", err)
		}
		if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, errHub) {
			t.Errorf("read of what will not come: %v", err)
		}
		f.Close()
		w.hub.fails.Store(false)
		w.hub.wrong.Store(true)
		f = w.file(a)
		if err := f.Whole(t.Context()); !errors.Is(err, blob.ErrMismatch) {
			t.Errorf("a hub with other bytes: %v", err)
		}
		f.Close()
		w.hub.wrong.Store(false)
		right := w.hub.of
		w.hub.of = newWorld(t, 3).m
		b := w.node("b", nil)
		if _, err := b.Open(t.Context(), w.m.Digest, w.m.Size); !errors.Is(err, blob.ErrManifest) {
			t.Errorf("the manifest of something else: %v", err)
		}
		w.hub.of = right
		w.fetch(a, b) // and then all is well
		if _, err := a.Open(t.Context(), w.m.Digest, 5); core.KindOf(err) != core.Invalid {
			t.Errorf("another size: %v", err)
		}
	})
}

// A hub whose manifest is of other chunks is found out by the digest of the whole, and
// nothing of it stays.
func TestManifestOfOtherChunks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		right, lie := w.hub.of, *w.hub.of
		a := w.node("a", nil)
		other := append([]byte("other"), w.content[5:]...)
		if lie.Digest = core.DigestOf(other); lie.Digest == right.Digest {
			t.Fatal("the same content")
		}
		w.hub.of = &lie
		f, err := a.Open(t.Context(), lie.Digest, lie.Size)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() // not before others ask again
		if err := f.Whole(t.Context()); !errors.Is(err, blob.ErrMismatch) || a.store.Has(lie.Digest) || a.store.Used() != 0 {
			t.Errorf("%v, %d bytes are stored", err, a.store.Used())
		}
		if w.hub.of, err = blob.Describe(t.Context(), bytes.NewReader(other), testChunk); err != nil {
			t.Fatal(err)
		}
		w.hub.content = other
		if _, release, err := a.Fetch(t.Context(), lie.Digest, lie.Size); err != nil {
			t.Errorf("when the hub tells the truth: %v", err)
		} else {
			release()
		}
	})
}

// A process that is killed in the middle fetches nothing twice.
func TestResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 40)
		a := w.node("a", nil)
		f := w.file(a) // never closed
		if err := f.Ensure(t.Context(), blob.Range{Off: 5 * testChunk, Size: 20 * testChunk}); err != nil {
			t.Fatal(err)
		}
		a.Close()
		had := w.hub.reads.Load()
		if had != 20 {
			t.Errorf("%d chunks were fetched for 20", had)
		}
		w.open(a, nil)
		w.fetch(a)
		if all := w.hub.reads.Load(); all != 40 {
			t.Errorf("%d chunks were fetched in all, of 40", all)
		}
	})
}

// Ranges bring their chunks and no others; reads wait for theirs.
func TestRanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, first := peersAlone(t, 40)
		f := w.file(w.node("a", nil))
		defer f.Close()
		if err := f.Ensure(t.Context(), blob.Range{Off: 0, Size: 10}, blob.Range{Off: 7*testChunk - 1, Size: 2}, blob.Range{Off: 1 << 40, Size: 1}); err != nil {
			t.Fatal(err)
		}
		if sent := first.Moved().Sent; sent != 3*testChunk {
			t.Errorf("%d bytes were sent for three chunks", sent)
		}
		b := make([]byte, 3000)
		if _, err := f.ReadAt(b, 20_000); err != nil || !bytes.Equal(b, w.content[20_000:23_000]) {
			t.Errorf("read: %v", err)
		}
		if n, err := f.ReadAt(b, w.m.Size-7); n != 7 || err == nil {
			t.Errorf("read over the end: %d, %v", n, err)
		}
		// What one has of a content another gets from it, also when it fetches no more.
		f.Close()
		g := w.file(w.node("b", func(cfg *Config) {
			cfg.Sources = func(core.Digest) []peer.Address { return []peer.Address{address("a")} }
		}))
		defer g.Close()
		if err := g.Ensure(t.Context(), blob.Range{Off: 0, Size: 10}); err != nil {
			t.Error(err)
		}
	})
}

// Who may not have a content, or asks in another way than the protocol's, is told.
func TestRefusals(t *testing.T) {
	t.Parallel()
	open := func(w *world) *ask { return &ask{kind: askOpen, digest: w.m.Digest, size: w.m.Size, chunk: testChunk} }
	for name, c := range map[string]struct {
		say  func(w *world) []byte
		want string
	}{
		"a stranger":      {func(w *world) []byte { return open(w).append(nil) }, "you are a stranger"},
		"no greeting":     {func(*world) []byte { return (&ask{kind: askChunk}).append(nil) }, "not the protocol"},
		"garbage":         {func(*world) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }, "not the protocol"},
		"unknown content": {func(w *world) []byte { a := open(w); a.digest[0]++; return a.append(nil) }, "nothing is here"},
		"another size":    {func(w *world) []byte { a := open(w); a.size++; return a.append(nil) }, "has 10140 bytes"},
		"no such chunk":   {func(w *world) []byte { return (&ask{kind: askChunk, n: 10}).append(open(w).append(nil)) }, "chunk 10 is not here"},
		"two openings":    {func(w *world) []byte { return open(w).append(open(w).append(nil)) }, "not the protocol"},
		"too many": {func(w *world) (b []byte) {
			b = open(w).append(nil)
			for range 1000 {
				b = (&ask{kind: askChunk}).append(b)
			}
			return b
		}, "were asked for at a time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 10)
				first := w.node("first", func(cfg *Config) {
					cfg.Allow = func(_ context.Context, p peer.Peer, _ core.Digest) error {
						if name == "a stranger" {
							return core.Errorf(core.Forbidden, "you are a stranger, %s", p.Node)
						}
						return nil
					}
				})
				w.holds(first)
				conn := w.dial("me", first)
				w.wg.Go(func() { _, _ = conn.Write(c.say(w)) }) // it need not all be heard
				for {
					m, err := readTell(conn, make([]byte, testChunk))
					if err != nil {
						t.Fatalf("no refusal: %v", err)
					}
					if m.kind == tellNo {
						if !strings.Contains(m.text, c.want) {
							t.Errorf("refused with %q", m.text)
						}
						return
					}
				}
			})
		})
	}
}

// One peer cannot take all the streams that a node serves, nor can all of them together
// have it serve more.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		first := w.node("first", nil)
		w.holds(first)
		refused := func(from core.NodeID) {
			if m, err := readTell(w.dial(from, first), nil); err != nil || m.kind != tellNo || !strings.Contains(m.text, "too many") {
				t.Errorf("%s: %+v, %v", from, m, err)
			}
		}
		keep := func(from core.NodeID) { // it says nothing
			w.dial(from, first)
			synctest.Wait()
		}
		for range maxPeerStreams {
			keep("greedy")
		}
		refused("greedy")
		w.fetch(w.node("a", nil))
		for i := range maxStreams - maxPeerStreams {
			keep(core.NodeID(fmt.Sprintf("one-%d", i)))
		}
		refused("the last")
		time.Sleep(2 * openTime) // who says nothing loses the stream
		w.fetch(w.node("b", nil))
	})
}
