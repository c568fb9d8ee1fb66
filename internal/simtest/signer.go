package simtest

import (
	"encoding/json"

	"atoll/internal/core"
	"atoll/internal/node/agent"
	"atoll/internal/receipt"
)

// nodeSigner signs a node's receipts with the real format and key.
type nodeSigner struct {
	n      *node
	signer *receipt.Signer
}

func (n *node) signer() agent.Signer { return nodeSigner{n, n.receipts} }

// Sign implements agent.Signer.
func (s nodeSigner) Sign(account core.AccountID, done []agent.Finished) (json.RawMessage, error) {
	x := receipt.Execution{Hub: hubID, Node: s.n.id, Owner: s.n.owner, Account: account}
	for _, d := range done {
		l := d.Lease
		e := receipt.ExecutedLease{
			Lease: l.ID, Task: l.Task, Part: l.Part, Attempt: l.Attempt, Input: l.Input, Model: l.Model, Params: l.ParamsHash, Result: d.Result,
			Engine: l.Engine, Nonce: l.Nonce, Commit: l.Commit, Outcome: receipt.OK, StartedMs: d.Started.UnixMilli(), FinishedMs: d.Finished.UnixMilli(),
			PriceMicro: int64(l.Price), RegionDeclared: s.n.offer.Country, Residency: l.Residency,
		}
		if len(d.Accounts) > 0 {
			e.Accounts = core.DigestOf(d.Accounts)
		}
		if d.Failure != "" {
			e.Outcome, e.Error = receipt.Failed, d.Failure
		}
		x.Leases = append(x.Leases, e)
	}
	signed, err := s.signer.Execution(&x)
	return signed.Envelope, err
}
