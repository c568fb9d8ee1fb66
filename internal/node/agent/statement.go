package agent

import (
	"encoding/json"
	"errors"
	"fmt"

	"atoll/internal/core"
	"atoll/internal/receipt"
)

// Statements is the Signer of a real node: it states what was executed and signs
// it with the node's key. It is safe for concurrent use.
type Statements struct {
	head   receipt.Execution
	signer *receipt.Signer
	region string
}

// NewStatements returns a signer. head has the fields that all of the node's
// statements share: Hub, Node, Owner and EngineBuild. country is where the node
// declares to be.
func NewStatements(signer *receipt.Signer, head receipt.Execution, country string) (*Statements, error) {
	if signer == nil || head.Hub == "" || head.Node == "" || head.Owner == "" {
		return nil, errors.New("statements: signer, hub, node or owner is missing")
	}
	head.Account, head.Leases = "", nil
	return &Statements{head: head, signer: signer, region: country}, nil
}

// Sign implements Signer.
func (s *Statements) Sign(account core.AccountID, done []Finished) (json.RawMessage, error) {
	e := s.head
	e.Account = account
	e.Leases = make([]receipt.ExecutedLease, len(done))
	for i := range done {
		e.Leases[i] = s.executed(&done[i])
	}
	signed, err := s.signer.Execution(&e)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	return signed.Envelope, nil
}

func (s *Statements) executed(d *Finished) receipt.ExecutedLease {
	l := d.Lease
	e := receipt.ExecutedLease{
		Lease: l.ID, Task: l.Task, Part: l.Part, Attempt: l.Attempt,
		Input: l.Input, Model: l.Model, Params: l.ParamsHash, Result: d.Result,
		Engine: l.Engine, Nonce: l.Nonce, Commit: l.Commit, Outcome: receipt.OK,
		StartedMs: d.Started.UnixMilli(), FinishedMs: d.Finished.UnixMilli(),
		Usage: receipt.Usage{
			CPUMs:   max(d.Usage.CPU.Milliseconds(), 0),
			BytesIn: l.InputSize, BytesOut: int64(len(d.Data)),
			TokensIn: max(d.Usage.TokensIn, 0), TokensOut: max(d.Usage.TokensOut, 0),
		},
		PriceMicro: int64(l.Price), Escrow: l.Task.String(), RegionDeclared: s.region, Residency: l.Residency, Traceparent: l.Traceparent,
	}
	if len(d.Accounts) > 0 {
		e.Accounts = core.DigestOf(d.Accounts)
	}
	if d.Failure != "" {
		e.Outcome, e.Error = receipt.Failed, d.Failure
		e.Usage.BytesOut = 0
	}
	return e
}
