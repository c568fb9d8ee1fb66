package lifecycle

import "atoll/internal/core"

// PartState is where a part is on its way.
type PartState string

// States of a part.
const (
	PartWaiting   PartState = "waiting" // needs a lease that it has not got
	PartRunning   PartState = "running" // all leases it needs are out
	PartSucceeded PartState = "succeeded"
	PartFailed    PartState = "failed"
	PartCancelled PartState = "cancelled"
)

// Part is one piece of a task's input with the leases under which it ran.
type Part struct {
	Index    int         `json:"i"`
	State    PartState   `json:"state"`
	Reason   string      `json:"why,omitempty"`
	SinceMs  int64       `json:"since"` // when it began to wait
	Offset   int64       `json:"off,omitzero"`
	Size     int64       `json:"size,omitzero"`
	Input    core.Digest `json:"input"`
	Result   core.Digest `json:"result,omitzero"` // once succeeded
	TimedOut bool        `json:"timeout,omitzero"`
	Leases   []Lease     `json:"leases,omitempty"`
}

// Ended reports whether the part is in a final state.
func (p *Part) Ended() bool {
	return p.State == PartSucceeded || p.State == PartFailed || p.State == PartCancelled
}

// Lease returns the lease with the given ID, or nil.
func (p *Part) Lease(id core.LeaseID) *Lease {
	for i := range p.Leases {
		if p.Leases[i].ID == id {
			return &p.Leases[i]
		}
	}
	return nil
}

// Drawn returns the lease whose result is to be looked at again, or nil.
func (p *Part) Drawn() *Lease {
	for i := range p.Leases {
		if p.Leases[i].Drawn && p.Leases[i].State != Rejected {
			return &p.Leases[i]
		}
	}
	return nil
}

// Staged reports whether the part's result is, or was, for a line to compute.
func (p *Part) Staged() bool {
	for i := len(p.Leases) - 1; i >= 0; i-- {
		if l := &p.Leases[i]; l.Checks == 0 {
			return l.Line != ""
		}
	}
	return false
}

// Tested reports whether a result that is drawn is not computed again as a whole, but
// tested by whoever checks it: by a reference, or, if a line has computed it, by an audit
// of one stage.
func (p *Part) Tested(t *Terms) bool {
	return t.Method == Logprobs || t.Method == Reexecute && p.Staged()
}

// InputOf returns the digest and size of what a lease of the part runs: the part's
// input, or a piece derived from the claim that the lease checks.
func (p *Part) InputOf(l *Lease) (core.Digest, int64) {
	if l.Partial {
		tried := p.Lease(l.Checks)
		return tried.Piece, tried.PieceSize
	}
	return p.Input, p.Size
}

// Live counts the leases that may still deliver.
func (p *Part) Live() (n int) {
	for i := range p.Leases {
		if p.Leases[i].Live() {
			n++
		}
	}
	return n
}

// Attempts counts the leases that used up an attempt: all but those that a
// node declined before doing anything.
func (p *Part) Attempts() (n int) {
	for i := range p.Leases {
		if s := p.Leases[i].State; s != Refused && s != Cancelled {
			n++
		}
	}
	return n
}

// Hidden reports whether what replicas delivered must not be shown yet, lest
// one replica copy another: a further replica may be needed until the part has
// ended.
func (p *Part) Hidden() bool { return !p.Ended() }
