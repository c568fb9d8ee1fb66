package control

import (
	"context"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/store"
)

// Drain stops or resumes giving a node new leases.
func (c *Control) Drain(ctx context.Context, id core.NodeID, on bool) (api.Node, error) {
	return c.editNode(ctx, id, func(b *batch, n *node) { n.doc.Drained = on })
}

// Revoke locks a node out: its keys are void, its leases go elsewhere.
func (c *Control) Revoke(ctx context.Context, id core.NodeID) (api.Node, error) {
	var nkey string
	out, err := c.editNode(ctx, id, func(b *batch, n *node) {
		n.doc.Revoked, n.doc.RevokedMs = true, b.now
		nkey = n.doc.Nkey
		b.tx.DeleteKey(n.doc.KeyID)
		for _, r := range sortedRefs(n.leases) {
			b.lose(r, "node "+string(id)+" was revoked by the operator")
		}
	})
	if err == nil {
		err = c.cfg.Admit.Revoke(nkey, c.now())
	}
	return out, err
}

// RevokedNkeys are the bus keys that are shut out, and since when.
func RevokedNkeys(ctx context.Context, s *store.Store) (map[string]time.Time, error) {
	docs, err := store.Docs[nodeDoc](ctx, s, "nodes")
	out := map[string]time.Time{}
	for _, d := range docs {
		if d.Revoked {
			out[d.Nkey] = moment(d.RevokedMs)
		}
		for _, old := range d.OldNkeys {
			out[old.Nkey] = moment(old.Ms)
		}
	}
	return out, err
}

func (c *Control) editNode(ctx context.Context, id core.NodeID, edit func(*batch, *node)) (api.Node, error) {
	var out api.Node
	err := c.job(ctx, func(b *batch) error {
		n := c.nodes[id]
		if n == nil {
			return core.Errorf(core.NotFound, "no node %s", id)
		}
		edit(b, n)
		n.refresh(n.offer.Up, b.now)
		b.touchNode(n)
		b.freed = true
		out = c.nodeView(n)
		return nil
	})
	return out, err
}
