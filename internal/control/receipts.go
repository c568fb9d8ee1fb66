package control

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/receipt"
	"atoll/internal/request"
	"atoll/internal/store"
	"atoll/internal/tlog"
)

// openReceipt verifies a report's statement and that it is this node's own.
func (c *Control) openReceipt(x *checked, signer receipt.Key, owner core.AccountID) (err error) {
	var signed receipt.Signed
	if x.execution, signed, err = signer.OpenExecution(x.envelope); err != nil {
		return err
	}
	e := &x.execution
	if e.Node != x.node || e.Hub != c.cfg.HubID || e.Owner != owner {
		return core.Errorf(core.Invalid, "the receipt is of node %s of %s for hub %s", e.Node, e.Owner, e.Hub)
	}
	x.leaf, x.digest = signed.Leaf, signed.Digest
	return nil
}

// signVerdict signs a verdict and returns its leaf and envelope.
func (c *Control) signVerdict(v *receipt.Verdict) (leaf, envelope []byte, err error) {
	s, err := c.signer.Verdict(v)
	if err != nil {
		return nil, nil, fmt.Errorf("sign verdict: %w", err)
	}
	return s.Leaf, s.Envelope, nil
}

// signedAgain is what the planted bug puts in the log: a statement whose
// signature was made anew, with fresh randomness.
func (c *Control) signedAgain(envelope []byte) []byte {
	d := core.DigestOf(envelope)
	sig, err := ecdsa.SignASN1(rand.Reader, c.cfg.Key.Signer().(*ecdsa.PrivateKey), d[:])
	if err != nil {
		return nil
	}
	return sig
}

// Receipt returns the node's receipt of a lease as a Sigstore bundle.
func (c *Control) Receipt(ctx context.Context, v request.Viewer, id core.LeaseID) ([]byte, error) {
	l, err := c.shownLease(ctx, v, id)
	if err != nil {
		return nil, err
	}
	_, envelope, err := c.store.Leaf(ctx, l.Leaf-1)
	if err != nil {
		return nil, err
	}
	e, err := receipt.ParseExecution(envelope)
	if err != nil {
		return nil, err
	}
	if c.anyHidden(l.Leaf, e.Leases) {
		return nil, core.Errorf(core.Unavailable, "the receipt also speaks of parts that are not decided yet").WithHint("ask again when they are")
	}
	return c.bundle(ctx, l.Leaf-1)
}

// anyHidden reports whether a statement, by its log index plus one, has reported a
// lease of a part whose results must not be shown yet. What else it speaks of,
// such as leases that its node does not hold, hides nothing.
func (c *Control) anyHidden(leaf int64, leases []receipt.ExecutedLease) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range leases {
		t := c.tasks[leases[i].Task]
		if t == nil || leases[i].Part >= len(t.parts) {
			continue
		}
		p := t.parts[leases[i].Part]
		if l := p.Lease(leases[i].Lease); l != nil && l.Leaf == leaf && p.Hidden() {
			return true
		}
	}
	return false
}

// Verdict returns the hub's verdict on a lease as a Sigstore bundle.
func (c *Control) Verdict(ctx context.Context, v request.Viewer, id core.LeaseID) ([]byte, error) {
	l, err := c.shownLease(ctx, v, id)
	if err != nil {
		return nil, err
	}
	if l.VerdictLeaf == 0 {
		return nil, core.Errorf(core.NotFound, "%s was not judged: it is %s", id, l.State)
	}
	return c.bundle(ctx, l.VerdictLeaf-1)
}

// shownLease finds a lease whose part has ended and that has reported.
func (c *Control) shownLease(ctx context.Context, v request.Viewer, id core.LeaseID) (*lifecycle.Lease, error) {
	task, part, err := c.store.FindLease(ctx, id)
	if errors.Is(err, store.ErrNoRow) {
		return nil, core.Errorf(core.NotFound, "no lease %s has left a receipt", id)
	} else if err != nil {
		return nil, err
	}
	if _, _, err := c.row(ctx, v, task); err != nil {
		return nil, core.Errorf(core.NotFound, "no lease %s has left a receipt", id)
	}
	parts, err := c.store.Parts(ctx, task, part, 1)
	if err != nil {
		return nil, err
	}
	l := parts[0].Lease(id)
	if l == nil || l.Leaf == 0 {
		return nil, core.Errorf(core.NotFound, "no lease %s has left a receipt", id)
	}
	if parts[0].Hidden() {
		return nil, core.Errorf(core.Conflict, "receipts are shown once their part has ended, lest one replica copy another")
	}
	return l, nil
}

// Bundle returns a statement of the log, by its index, as a Sigstore bundle. It is for
// those who know that the caller may see it.
func (c *Control) Bundle(ctx context.Context, leaf int64) ([]byte, error) {
	return c.bundle(ctx, leaf)
}

// bundle puts a leaf and its proof under the newest checkpoint together.
func (c *Control) bundle(ctx context.Context, leaf int64) ([]byte, error) {
	p := c.cfg.Log.latest()
	if leaf >= p.Size {
		return nil, core.Errorf(core.Unavailable, "the entry is not under a checkpoint yet").WithHint("ask again in a second")
	}
	body, envelope, err := c.store.Leaf(ctx, leaf)
	if err != nil {
		return nil, err
	}
	proof, err := c.cfg.Log.tree.ProveInclusion(leaf, p.Size)
	if err != nil {
		return nil, err
	}
	return receipt.Bundle(receipt.Logged{
		Envelope: envelope, Leaf: body, Index: leaf, Proof: proof,
		Tree: tlog.Checkpoint{Size: p.Size, Root: tlog.Hash(p.Root)}, Checkpoint: p.Note, Log: c.cfg.Log.Key(),
	})
}

// TrustedRoot returns what strangers verify this hub's receipts with.
func (c *Control) TrustedRoot(context.Context) ([]byte, error) {
	return receipt.TrustedRoot(c.cfg.Log.Key(), moment(0))
}

// SigningKeys returns whose signatures receipts and verdicts carry.
func (c *Control) SigningKeys(context.Context) (api.SigningKeys, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := api.SigningKeys{Hub: api.SigningKey{ID: c.cfg.HubID, PublicKey: c.cfg.Key.Public().PEM()}, Nodes: make([]api.SigningKey, 0, len(c.offers))}
	for _, o := range c.offers {
		d := &c.nodes[o.Node].doc
		out.Nodes = append(out.Nodes, api.SigningKey{ID: string(d.ID), Owner: d.Owner, PublicKey: d.PublicKey})
	}
	return out, nil
}
