package control

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net/http"
	"sync/atomic"

	"atoll/internal/planted"
	"atoll/internal/store"
	"atoll/internal/tlog"
)

// LogConfig says where a log's tiles are kept and who signs for it.
type LogConfig struct {
	Dir    string
	Origin string // the log's name: a host name
	Key    ed25519.PrivateKey
	Logger *slog.Logger
}

// Log joins the tile log to SQL: leaves are numbered and stored by store, the
// tree is a projection of them.
type Log struct {
	cfg       LogConfig
	signer    *tlog.Signer
	tree      *tlog.Tree
	unflushed int
	published atomic.Pointer[store.Checkpoint]
}

// NewLog returns a log that Control opens.
func NewLog(cfg LogConfig) (*Log, error) {
	signer, err := tlog.NewSigner(cfg.Origin, cfg.Key)
	if err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Log{cfg: cfg, signer: signer}, nil
}

// Key is what others check the log's checkpoints with.
func (l *Log) Key() tlog.Key { return l.signer.Key() }

// open brings the tree up to the leaves in SQL. It refuses a database that the
// published checkpoint does not fit.
func (l *Log) open(ctx context.Context, s *store.Store, published store.Checkpoint) error {
	leaves, err := s.LeafCount(ctx)
	if err != nil {
		return err
	}
	kept, err := tlog.KeptPublished(l.cfg.Dir, l.signer.Key())
	if err != nil {
		return err
	}
	l.tree, err = tlog.Open(ctx, tlog.Config{Dir: l.cfg.Dir, Published: checkpointOf(published), Leaves: leaves, Bodies: s.LeafBodies})
	if err == nil {
		err = l.tree.CheckKept(kept, checkpointOf(published))
	}
	if err == nil && published.Size > 0 {
		err = l.publish(published)
	}
	return err
}

func checkpointOf(c store.Checkpoint) tlog.Checkpoint {
	return tlog.Checkpoint{Size: c.Size, Root: tlog.Hash(c.Root), Epoch: c.Epoch}
}

func (l *Log) size() int64 { return l.tree.Size() }

// append adds leaves that SQL has durably.
func (l *Log) append(bodies [][]byte) error {
	for _, b := range bodies {
		if _, err := l.tree.Append(b); err != nil {
			return err
		}
	}
	if l.unflushed += len(bodies); l.unflushed < flushAfter {
		return nil
	}
	l.unflushed = 0
	return l.tree.Flush()
}

// flushAfter leaves, full tiles go to disk and out of memory.
const flushAfter = 1024

// next is the checkpoint to follow prev, signed; prev itself if nothing grew.
func (l *Log) next(prev store.Checkpoint, nowMs int64) (store.Checkpoint, error) {
	c, err := l.tree.Next(checkpointOf(prev))
	if err != nil || c.Size == prev.Size {
		return prev, err
	}
	note, err := l.signer.Sign(c)
	return store.Checkpoint{Size: c.Size, Epoch: c.Epoch, Root: [32]byte(c.Root), Note: note, Ms: nowMs}, err
}

// publish shows a checkpoint to the world, from where it cannot be taken back.
func (l *Log) publish(c store.Checkpoint) error {
	if err := tlog.KeepPublished(l.cfg.Dir, c.Note); err != nil {
		return err
	}
	l.published.Store(&c)
	return nil
}

// latest returns the newest published checkpoint; size 0 if there is none.
func (l *Log) latest() store.Checkpoint {
	if c := l.published.Load(); c != nil {
		return *c
	}
	return store.Checkpoint{}
}

// LogHandler serves the log's checkpoint, tiles and entries.
func (c *Control) LogHandler() (http.Handler, error) {
	return tlog.NewHandler(tlog.HandlerConfig{
		Tree: c.cfg.Log.tree, Bodies: c.store.LeafBodies, Log: c.log,
		Published: func() ([]byte, int64) {
			p := c.cfg.Log.latest()
			return p.Note, p.Size
		},
	})
}

// appendLeaf stores a signed statement in the log. The tree gets the very bytes
// that SQL has: a statement signed again would be another leaf.
func (b *batch) appendLeaf(body, envelope []byte) int64 {
	shown := body
	if planted.Resign {
		shown = b.c.signedAgain(envelope)
	}
	b.leaves = append(b.leaves, shown)
	return b.tx.AppendLeaf(body, envelope)
}
