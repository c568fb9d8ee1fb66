package swarm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/peer"
)

const testChunk = blob.MinChunk

// noise is so many bytes, the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

// world is nodes on a network in memory, and a hub that has one content.
type world struct {
	t       *testing.T
	net     *peer.Memory
	content []byte
	m       *blob.Manifest
	hub     *hub
	nodes   []*node
	wg      sync.WaitGroup
}

// node is a swarm with its store.
type node struct {
	*Swarm
	address peer.Address
	dir     string
	store   *blob.Store
	log     bytes.Buffer
}

// hub is an Origin.
type hub struct {
	of      *blob.Manifest
	content []byte
	fails   atomic.Bool // it has no chunks
	wrong   atomic.Bool // they are other ones
	reads   atomic.Int64
}

var errHub = errors.New("the hub is gone")

func (h *hub) Manifest(context.Context, core.Digest) (*blob.Manifest, error) { return h.of, nil }

func (h *hub) Read(_ context.Context, _ core.Digest, b []byte, off int64) error {
	if h.fails.Load() {
		return errHub
	}
	h.reads.Add(1)
	copy(b, h.content[off:])
	if h.wrong.Load() {
		b[0]++
	}
	return nil
}

// peersAlone is a world whose hub gives nothing: the node first has all chunks.
func peersAlone(t *testing.T, chunks int) (w *world, first *node) {
	t.Helper()
	w = newWorld(t, chunks)
	w.hub.fails.Store(true)
	first = w.node("first", nil)
	w.holds(first)
	return w, first
}

func newWorld(t *testing.T, chunks int) *world {
	t.Helper()
	w := &world{t: t, net: peer.NewMemory(), content: noise(chunks*testChunk - 100)}
	var err error
	if w.m, err = blob.Describe(t.Context(), bytes.NewReader(w.content), testChunk); err != nil {
		t.Fatal(err)
	}
	w.hub = &hub{of: w.m, content: w.content}
	t.Cleanup(w.wg.Wait)
	return w
}

// node adds a node that knows all others; lines to them have some length.
func (w *world) node(name core.NodeID, edit func(*Config)) *node {
	w.t.Helper()
	n := &node{address: address(name), dir: w.t.TempDir()}
	for _, other := range w.nodes {
		w.net.Line(string(name), string(other.address.Node), peer.Conditions{RTT: 2 * time.Millisecond, Bandwidth: 80_000_000})
	}
	w.nodes = append(w.nodes, n)
	w.open(n, edit)
	w.listen(name, n.Handlers()[Protocol])
	return n
}

// open starts a node over what its directory holds.
func (w *world) open(n *node, edit func(*Config)) {
	w.t.Helper()
	var err error
	if n.store, err = blob.Open(n.dir, blob.Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
		w.t.Fatal(err)
	}
	cfg := Config{
		Store: n.store, Origin: w.hub, Self: n.address.Key, Log: slog.New(slog.NewTextHandler(&n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Allow: func(context.Context, peer.Peer, core.Digest) error { return nil },
		Open: func(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error) {
			conn, err := w.net.Dialler(string(n.address.Node))(ctx, string(to.Node))
			return &stream{conn, peer.Peer{Node: to.Node, Key: to.Key}}, err
		},
		Sources: func(core.Digest) (all []peer.Address) {
			for _, other := range w.nodes {
				all = append(all, other.address)
			}
			return all
		},
	}
	if edit != nil {
		edit(&cfg)
	}
	if n.Swarm, err = New(cfg); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(n.Close)
}

// listen has a handler answer at a node's place.
func (w *world) listen(name core.NodeID, h peer.Handler) {
	w.t.Helper()
	l, err := w.net.Listen(string(name))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w.t.Cleanup(func() { stop(); _ = l.Close() })
	w.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			from := address(core.NodeID(conn.RemoteAddr().String()))
			w.wg.Go(func() {
				defer conn.Close()
				h(ctx, &stream{conn, peer.Peer{Node: from.Node, Key: from.Key}})
			})
		}
	})
}

// impostor adds a peer that answers as it likes.
func (w *world) impostor(name core.NodeID, h peer.Handler) {
	w.nodes = append(w.nodes, &node{address: address(name)})
	w.listen(name, h)
}

// dial opens a stream to a node, on which nothing that was written is lost when it ends.
func (w *world) dial(from core.NodeID, to *node) net.Conn {
	w.t.Helper()
	mine, theirs := net.Pipe()
	w.t.Cleanup(func() { _ = mine.Close() })
	a := address(from)
	w.wg.Go(func() {
		defer theirs.Close()
		to.Handlers()[Protocol](context.Background(), &stream{theirs, peer.Peer{Node: a.Node, Key: a.Key}})
	})
	return mine
}

type stream struct {
	net.Conn
	peer peer.Peer
}

func (s *stream) Peer() peer.Peer { return s.peer }

func address(name core.NodeID) peer.Address {
	return peer.Address{Node: name, Key: core.DigestOf([]byte(name)), At: []string{string(name)}}
}

// holds puts the content into a node's store.
func (w *world) holds(n *node) {
	w.t.Helper()
	if _, _, err := n.store.Put(w.t.Context(), bytes.NewReader(w.content), w.m.Digest, w.m.Size); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) file(n *node) *File {
	w.t.Helper()
	f, err := n.Open(w.t.Context(), w.m.Digest, w.m.Size)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// fetch has nodes fetch the whole, at the same time, and checks it.
func (w *world) fetch(nodes ...*node) {
	w.t.Helper()
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			f, err := n.Open(w.t.Context(), w.m.Digest, w.m.Size)
			if err != nil {
				w.t.Errorf("%s: %v", n.address.Node, err)
				return
			}
			defer f.Close()
			if err := errors.Join(f.Whole(w.t.Context()), n.store.Verify(w.t.Context(), w.m.Digest)); err != nil {
				w.t.Errorf("%s: %v", n.address.Node, err)
			}
		})
	}
	wg.Wait()
}

// answers gives chunks as a holder does, but as send says.
func (w *world) answers(send func(s peer.Stream, n uint32, data []byte) bool) peer.Handler {
	return func(_ context.Context, s peer.Stream) {
		if _, err := readAsk(s); err != nil {
			return
		}
		_, _ = s.Write(head(nil, tellAll, 0))
		for {
			a, err := readAsk(s)
			if err != nil {
				return
			}
			off, size := w.m.Span(int(a.n))
			if !send(s, a.n, bytes.Clone(w.content[off:off+size])) {
				_, _ = io.Copy(io.Discard, s)
				return
			}
		}
	}
}
