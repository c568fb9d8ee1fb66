package control

import (
	"atoll/internal/core"
	"atoll/internal/receipt"
	"atoll/internal/store"
)

// Record has fn write rows of its own, and append statements to the log, in one
// transaction, after those recorded before. The channel is closed once all that is
// durable; if the store stops first it never is. It is for rooms that keep their own
// state, such as internal/fed/server. log returns the leaf's index.
func (c *Control) Record(fn func(tx *store.Tx, log func(receipt.Signed) int64)) (durable <-chan struct{}) {
	done := make(chan struct{})
	c.enqueue(func(b *batch) {
		fn(b.tx, func(s receipt.Signed) int64 { return b.appendLeaf(s.Leaf, s.Envelope) })
		b.tx.After(func() { close(done) })
	})
	return done
}

// SignRound signs what has come of a round of federated learning.
func (c *Control) SignRound(r *receipt.Round) (receipt.Signed, error) {
	r.Hub = c.cfg.HubID
	return c.signer.Round(r)
}

// NewFederationID returns an ID that was not used before.
func (c *Control) NewFederationID() core.FederationID { return core.FederationID(c.ids.Next()) }

// Unname says that rows have ceased to name content: it is removed unless others do.
func (c *Control) Unname(d ...core.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unnamed.add(d...)
}
