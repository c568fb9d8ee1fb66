package simtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/control"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/store"
)

// watch is what is noted and judged while a run goes on: what will be gone, or
// put right, by its end.
type watch struct {
	acks   map[core.LeaseID]core.NodeID // reports that the hub said it has stored
	heads  []store.Checkpoint           // every checkpoint that was published
	leaves int64
	newest []byte // body of the newest leaf seen
	syncs  int64  // of this life of the hub, when it was last looked at
}

func newWatch() watch { return watch{acks: map[core.LeaseID]core.NodeID{}} }

// acked notes what the hub has told a node to forget because it is stored. With
// a note it says that it does not want it, which is another matter.
func (k *watch) acked(w *World, id core.NodeID, data []byte) {
	var m bus.Ack
	if err := json.Unmarshal(data, &m); err != nil {
		w.violation("an ack is not JSON: %v", err)
	}
	if m.Note != "" {
		return
	}
	for _, l := range m.Leases {
		k.acks[l] = id
	}
}

// checkpoint notes what has been published, if anything was written since.
func (k *watch) checkpoint(ctx context.Context, w *World, c *control.Control) {
	syncs, _ := c.Store().Syncs()
	if syncs == k.syncs {
		return
	}
	k.syncs = syncs
	top, err := c.Store().LastCheckpoint(ctx)
	if errors.Is(err, store.ErrNoRow) {
		return
	}
	if err != nil {
		w.violation("read checkpoint: %v", err)
		return
	}
	if n := len(k.heads); n == 0 || !bytes.Equal(k.heads[n-1].Note, top.Note) {
		k.heads = append(k.heads, top)
		w.say("hub has published %d leaves", top.Size)
	}
	k.lastLeaf(ctx, w, c)
}

// lastLeaf makes sure that the newest leaf seen before is still what it was:
// those before it are held fast by the checkpoints.
func (k *watch) lastLeaf(ctx context.Context, w *World, c *control.Control) {
	if k.leaves > 0 {
		body, _, err := c.Store().Leaf(ctx, k.leaves-1)
		if err != nil || !bytes.Equal(body, k.newest) {
			w.violation("leaf %d of the log has changed: %v", k.leaves-1, err)
		}
	}
	n, err := c.Store().LeafCount(ctx)
	if err != nil || n < k.leaves {
		w.violation("the log has %d leaves, and had %d: %v", n, k.leaves, err)
		return
	}
	if n == 0 {
		return
	}
	body, _, err := c.Store().Leaf(ctx, n-1)
	if err != nil {
		w.violation("leaf %d: %v", n-1, err)
	}
	k.leaves, k.newest = n, body
}

// restarted looks at what a crash has left, before the hub goes on.
func (k *watch) restarted(ctx context.Context, w *World, c *control.Control) {
	k.syncs = -1
	k.lastLeaf(ctx, w, c)
	k.audit(ctx, w, c)
}

// audit has the hub check its own books: at any moment they must be right.
func (k *watch) audit(ctx context.Context, w *World, c *control.Control) {
	a, err := c.Audit(ctx)
	if err != nil {
		w.violation("audit: %v", err)
		return
	}
	for _, p := range a.Problems {
		w.violation("audit: %s", p)
	}
	if !a.OK && len(a.Problems) == 0 {
		w.violation("audit: not OK, and no reason")
	}
}

func readResult(hub *control.Control, v atoll.Viewer, id core.TaskID) ([]byte, error) {
	var b bytes.Buffer
	err := hub.Result(context.Background(), v, id, io.Writer(&b))
	return b.Bytes(), err
}

// quiet reports whether nothing is left to happen: all clients know how their
// tasks ended, all money is settled, no node holds anything.
func (w *World) quiet() bool { return w.unrest() == "" }

// unrest says what is not over.
func (w *World) unrest() string {
	for _, c := range w.clients {
		for _, j := range c.jobs {
			if j.refused == nil && j.ended == nil {
				return j.name() + " is not over for its client"
			}
		}
	}
	for _, n := range w.nodes {
		if n.revoked {
			continue // the hub hears and answers it no more
		}
		if n.core == nil || !n.core.Idle() {
			return string(n.id) + " is not idle"
		}
	}
	if w.hub.c == nil {
		return "the hub is down"
	}
	return w.unsettled()
}

func (w *World) unsettled() string {
	open, err := w.hub.c.Store().OpenTasks(context.Background())
	if err != nil {
		return err.Error()
	}
	if len(open) > 0 {
		return open[0].ID.String() + " is " + string(open[0].State) + " and not settled: " + open[0].Reason
	}
	offers, err := w.hub.c.Offers(context.Background())
	if err != nil {
		return err.Error()
	}
	return w.fullyFree(offers)
}

// fullyFree says which node's capacity has leaked away, if any.
func (w *World) fullyFree(offers []api.Offer) string {
	for _, o := range offers {
		if n := w.byID[string(o.Node)]; o.Free != n.offer.Queue {
			return string(o.Node) + " is idle, and the hub counts leases on it"
		}
	}
	return ""
}
