package lifecycle

import (
	"fmt"
	"math/bits"
	"slices"

	"atoll/internal/core"
)

// LeaseState is where a lease is on its way.
type LeaseState string

// States of a lease. Passed, Rejected, Lost, Refused and Cancelled are final.
const (
	Offered   LeaseState = "offered"
	Accepted  LeaseState = "accepted"
	Started   LeaseState = "running"
	Reported  LeaseState = "reported"
	Passed    LeaseState = "passed"
	Rejected  LeaseState = "rejected"
	Lost      LeaseState = "lost"
	Refused   LeaseState = "refused"
	Cancelled LeaseState = "cancelled"
)

// leaseMoves lists, for each state, the states that may follow it. What is not
// here cannot happen, whatever messages are repeated or late.
var leaseMoves = map[LeaseState][]LeaseState{
	Offered:  {Accepted, Started, Reported, Refused, Lost, Cancelled},
	Accepted: {Started, Reported, Refused, Lost, Cancelled},
	Started:  {Reported, Refused, Lost, Cancelled},
	Reported: {Passed, Rejected, Cancelled},
}

// Lease is one node's promise to do one part.
type Lease struct {
	ID         core.LeaseID   `json:"id"`
	Attempt    int            `json:"n"` // 1, 2, … within the part
	Node       core.NodeID    `json:"node"`
	Owner      core.AccountID `json:"owner"`
	Arch       string         `json:"arch,omitempty"`
	State      LeaseState     `json:"state"`
	Reason     string         `json:"why,omitempty"`
	Price      core.Money     `json:"price"`
	Nonce      string         `json:"nonce"`
	Line       string         `json:"line,omitempty"` // that computes it, of which the node is the head
	Crew       []Hand         `json:"crew,omitempty"` // who may have a part in that
	OfferedMs  int64          `json:"offered"`
	StartedMs  int64          `json:"started,omitzero"`
	ReportedMs int64          `json:"reported,omitzero"`

	// Of tasks whose results may be run again.
	Secret  string       `json:"secret,omitempty"`  // decides, when it is revealed, whether it is drawn
	Drawn   bool         `json:"drawn,omitzero"`    // its result is to be run again
	Checks  core.LeaseID `json:"checks,omitzero"`   // the drawn lease that this one was made to check
	Audit   bool         `json:"audit,omitzero"`    // by computing one stage of the line that did it
	Reserve core.Money   `json:"reserved,omitzero"` // kept of the budget for its check
	// Piece is the input of a check that repeats only a piece of this drawn lease's
	// work: derived from its claim, and stored with the part's results. Zero: the
	// check repeats all.
	Piece     core.Digest `json:"piece,omitzero"`
	PieceSize int64       `json:"piece_size,omitzero"`
	Partial   bool        `json:"partial,omitzero"` // runs the piece of the lease that it checks
	// Test is what a reference has made of this drawn lease's result, where that is
	// how results are verified; or what this lease, an audit, has made of another's.
	Test *Test `json:"test,omitempty"`

	// Set by the report.
	Failure string      `json:"fail,omitempty"` // error text if the run failed
	Result  core.Digest `json:"result,omitzero"`
	Receipt core.Digest `json:"receipt,omitzero"`
	Leaf    int64       `json:"leaf,omitzero"` // log index of the receipt, plus 1
	// Of a result that a line has computed: what its nodes say of it, which is stored
	// with the part's results, and which of them have had a part in it besides the head.
	Accounts core.Digest `json:"accounts,omitzero"`
	Work     int64       `json:"work,omitzero"` // the head's own
	Shares   []Share     `json:"shares,omitempty"`

	// Set by the verdict.
	Pay         core.Money      `json:"pay,omitzero"`
	Transfer    core.TransferID `json:"xfer,omitzero"`    // the payment it grants
	VerdictLeaf int64           `json:"verdict,omitzero"` // log index of the verdict, plus 1
}

// Hand is a node that may compute a part of a result, as it was known when the lease was
// made: what it asks for since changes nothing, and a restart of the hub neither.
type Hand struct {
	Node  core.NodeID `json:"node"`
	Price core.Money  `json:"price"`           // that it asks for a whole result
	Lead  core.NodeID `json:"lead,omitempty"`  // of its team, which it may be itself; empty: it has none
	Speed int         `json:"speed,omitempty"` // in its team
}

// Asked is what a node asks for a whole result; the line's own price if it was not known.
func (l *Lease) Asked(node core.NodeID) core.Money {
	for _, h := range l.Crew {
		if h.Node == node {
			return h.Price
		}
	}
	return l.Price
}

// Team are those whom a node leads, itself first; none if it leads nobody.
func (l *Lease) Team(lead core.NodeID) (out []Hand) {
	for _, h := range l.Crew {
		if h.Lead == lead {
			out = append(out, h)
		}
	}
	return out
}

// Share is a node's part in a result that a line has computed.
type Share struct {
	Node     core.NodeID     `json:"node"`
	Owner    core.AccountID  `json:"owner"`
	Work     int64           `json:"work"` // as the other shares' is counted
	Pay      core.Money      `json:"pay,omitzero"`
	Transfer core.TransferID `json:"xfer,omitzero"`
}

// Test is the outcome of a test by a reference, or of an audit.
type Test struct {
	Pass   bool        `json:"pass,omitzero"`
	Reason string      `json:"why"`             // with what was measured and its threshold
	Blame  core.NodeID `json:"blame,omitempty"` // who is proven wrong
}

// Payment is what one node is paid for a lease.
type Payment struct {
	Node     core.NodeID
	Owner    core.AccountID
	Amount   core.Money
	Transfer core.TransferID
}

// Payments lists what the verdict has granted: to the lease's own node first.
func (l *Lease) Payments() []Payment {
	own := Payment{l.Node, l.Owner, l.Pay, l.Transfer}
	var out []Payment
	for _, s := range l.Shares {
		own.Amount -= s.Pay
		out = append(out, Payment{s.Node, s.Owner, s.Pay, s.Transfer})
	}
	return slices.Insert(out, 0, own)
}

// Divide gives each share its part of the pay, in proportion to its work; the lease's
// own node has the rest. next makes the transfers' IDs.
func (l *Lease) Divide(next func() core.TransferID) {
	total := l.Work
	for _, s := range l.Shares {
		total += s.Work
	}
	for i := range l.Shares {
		s := &l.Shares[i]
		if total > 0 && l.Pay > 0 {
			hi, lo := bits.Mul64(uint64(l.Pay), uint64(s.Work))
			part, _ := bits.Div64(hi, lo, uint64(total)) // no more than Pay: Work is of total
			s.Pay = core.Money(part)
		}
		s.Transfer = next()
	}
}

// Live reports whether the node may still deliver.
func (l *Lease) Live() bool {
	return l.State == Offered || l.State == Accepted || l.State == Started
}

// Counted reports whether the lease draws on the budget: it may yet be paid,
// or has been granted pay.
func (l *Lease) Counted() bool { return l.Live() || l.State == Reported || l.State == Passed }

// Claim is what the lease keeps of the budget.
func (l *Lease) Claim() core.Money { return l.Price + l.Reserve }

// Move takes the lease to a new state. It fails, changing nothing, when the
// state machine does not allow it.
func (l *Lease) Move(to LeaseState, reason string) error {
	if slices.Contains(leaseMoves[l.State], to) {
		l.State, l.Reason = to, reason
		return nil
	}
	return fmt.Errorf("%s is %s and cannot become %s", l.ID, l.State, to)
}
