package receipt

import (
	"fmt"
	"unicode/utf8"

	"atoll/internal/core"
	"atoll/internal/draw"
)

// Names on the wire.
const (
	ExecutionType = "urn:atoll:execution-receipt:v1"
	VerdictType   = "urn:atoll:verdict:v1"
	RoundType     = "urn:atoll:federated-round:v1"

	statementType = "https://in-toto.io/Statement/v1"
	payloadType   = "application/vnd.in-toto+json"
)

// Outcome is how a lease ended.
type Outcome string

// A node says OK or Failed, a hub Passed or Rejected.
const (
	OK       Outcome = "ok"
	Failed   Outcome = "failed"
	Passed   Outcome = "passed"
	Rejected Outcome = "rejected"
)

// Execution is what a node signs: leases of one account, executed.
type Execution struct {
	Hub     string         `json:"hub"`
	Node    core.NodeID    `json:"node"`
	Owner   core.AccountID `json:"owner"`
	Account core.AccountID `json:"account"` // the requester
	// EngineBuild is the digest of the executable that ran the engines; zero if
	// the node could not read it.
	EngineBuild core.Digest     `json:"engine_build,omitzero"`
	Leases      []ExecutedLease `json:"leases"`
}

// ExecutedLease is the work under one lease. Times are in ms since 1970 by the
// node's clock.
type ExecutedLease struct {
	Lease   core.LeaseID `json:"lease"`
	Task    core.TaskID  `json:"task"`
	Part    int          `json:"part"`
	Attempt int          `json:"attempt"`
	Input   core.Digest  `json:"input"`
	Model   core.Digest  `json:"model"`
	Params  core.Digest  `json:"params,omitzero"`
	// Result is the digest of the result, or of Error if the lease failed.
	Result core.Digest `json:"result"`
	// Accounts, of a result that a line of nodes has computed, is the digest of what
	// each of them has signed of its part.
	Accounts core.Digest `json:"accounts,omitzero"`
	Engine   string      `json:"engine"`
	Nonce    string      `json:"nonce"` // as given in the lease
	// Commit, as given in the lease, holds the hub to the secret that decides
	// whether the result is run again: see package draw.
	Commit         core.Digest `json:"commit,omitzero"`
	Outcome        Outcome     `json:"outcome"`
	Error          string      `json:"error,omitempty"`
	StartedMs      int64       `json:"started_ms"`
	FinishedMs     int64       `json:"finished_ms"`
	Usage          Usage       `json:"usage"`
	PriceMicro     int64       `json:"price_micro"` // micro-credits
	Escrow         string      `json:"escrow,omitempty"`
	RegionDeclared string      `json:"region_declared"`
	RegionObserved string      `json:"region_observed,omitempty"`
	// Residency is where the lease was allowed to run: countries, and groups of
	// countries with their version.
	Residency   []string    `json:"residency,omitempty"`
	Attestation core.Digest `json:"attestation,omitzero"` // digest of the hardware's evidence
	Policy      string      `json:"policy,omitempty"`     // ID of the policy decision
	Traceparent string      `json:"traceparent,omitempty"`
}

// Usage is what a run consumed, as the node measured it.
type Usage struct {
	CPUMs     int64 `json:"cpu_ms"`
	GPUMs     int64 `json:"gpu_ms,omitzero"`
	TokensIn  int64 `json:"tokens_in,omitzero"`
	TokensOut int64 `json:"tokens_out,omitzero"`
	BytesIn   int64 `json:"bytes_in"`
	BytesOut  int64 `json:"bytes_out"`
}

// Verdict is what a hub signs: receipts, judged.
type Verdict struct {
	Hub     string         `json:"hub"`
	Account core.AccountID `json:"account"` // the requester
	Leases  []JudgedLease  `json:"leases"`
}

// JudgedLease is the judgement of one lease's receipt.
type JudgedLease struct {
	Lease core.LeaseID `json:"lease"`
	Task  core.TaskID  `json:"task"`
	Part  int          `json:"part"`
	Node  core.NodeID  `json:"node"`
	// LogIndex is the receipt's leaf. It names one receipt for good: the log that
	// this verdict is in holds one leaf for each index.
	LogIndex int64 `json:"log_index"`
	// Receipt is the receipt's digest (of its PAE), for readers without the log;
	// zero where LogIndex alone names it.
	Receipt core.Digest `json:"receipt,omitzero"`
	Result  core.Digest `json:"result"`
	Method  string      `json:"method"`
	Outcome Outcome     `json:"outcome"`
	Reason  string      `json:"reason,omitempty"`
	// Transfer is the payment that the verdict grants, of PayMicro micro-credits.
	Transfer core.TransferID `json:"transfer,omitzero"`
	PayMicro int64           `json:"pay_micro"`
	// Shares are paid to the other nodes of a line, beside PayMicro to its head.
	Shares []Share `json:"shares,omitempty"`
	// Of results of which a sample is run again: how the lot fell on this one, or
	// else the lease that this one was made to check.
	Draw   *Draw        `json:"draw,omitempty"`
	Checks core.LeaseID `json:"checks,omitzero"`
}

// Share is what a node of a line is paid for its part in a result.
type Share struct {
	Node     core.NodeID     `json:"node"`
	Transfer core.TransferID `json:"transfer"`
	PayMicro int64           `json:"pay_micro"`
}

// Draw is what it takes to draw again: see package draw.
type Draw struct {
	Rate   int64  `json:"rate_ppm"`        // of results that are run again, in millionths
	Nonce  string `json:"nonce,omitempty"` // the requester's
	Span   int    `json:"span,omitzero"`   // steps of the work that the check repeats; 0: all of it
	Secret string `json:"secret"`          // of which the receipt has the hash
	Drawn  bool   `json:"drawn"`
}

// fault is what is wrong with a statement's content.
func fault(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrPayload}, args...)...)
}

// text is a string that must be short, valid UTF-8 and, unless optional, there.
type text struct {
	name, value string
	optional    bool
}

func checkTexts(texts ...text) error {
	for _, t := range texts {
		switch {
		case t.value == "" && !t.optional:
			return fault("%s is missing", t.name)
		case len(t.value) > maxText:
			return fault("%s has %d bytes, at most %d", t.name, len(t.value), maxText)
		case !utf8.ValidString(t.value):
			return fault("%s is not UTF-8", t.name)
		}
	}
	return nil
}

// checkLeases looks at what both predicates have.
func checkLeases(n int, lease func(int) core.LeaseID) error {
	if n == 0 || n > MaxLeases {
		return fault("%d leases, want 1 to %d", n, MaxLeases)
	}
	if n == 1 {
		return nil
	}
	seen := make(map[core.LeaseID]bool, n)
	for i := range n {
		if seen[lease(i)] {
			return fault("%s is there twice", lease(i))
		}
		seen[lease(i)] = true
	}
	return nil
}

func (e *Execution) check() error {
	err := checkTexts(text{"hub", e.Hub, false}, text{"node", string(e.Node), false}, text{"owner", string(e.Owner), false}, text{"account", string(e.Account), false})
	if err == nil {
		err = checkLeases(len(e.Leases), func(i int) core.LeaseID { return e.Leases[i].Lease })
	}
	for i := 0; err == nil && i < len(e.Leases); i++ {
		if err = e.Leases[i].check(); err != nil {
			err = fmt.Errorf("%w (leases[%d])", err, i)
		}
	}
	return err
}

func (l *ExecutedLease) check() error {
	u := l.Usage
	switch {
	case l.Lease <= 0 || l.Task <= 0 || l.Part < 0 || l.Attempt < 0:
		return fault("lease and task must be IDs, part and attempt not negative")
	case l.Input.IsZero() || l.Model.IsZero() || l.Result.IsZero():
		return fault("digest of input, model or result is missing")
	case min(l.StartedMs, l.FinishedMs, l.PriceMicro, u.CPUMs, u.GPUMs, u.TokensIn, u.TokensOut, u.BytesIn, u.BytesOut) < 0:
		return fault("a time, price or usage is negative")
	case len(l.Error) > MaxError || !utf8.ValidString(l.Error):
		return fault("error text is not UTF-8 of at most %d bytes", MaxError)
	case l.Outcome == OK && l.Error != "":
		return fault("outcome is ok and there is an error text")
	case l.Outcome == Failed && (l.Error == "" || l.Result != core.DigestOf([]byte(l.Error))):
		return fault("a failed lease's result must be the digest of its error text")
	case l.Outcome != OK && l.Outcome != Failed:
		return fault("outcome %.20q, want ok or failed", l.Outcome)
	case len(l.Residency) > maxResidency:
		return fault("%d residency entries, at most %d", len(l.Residency), maxResidency)
	}
	for _, r := range l.Residency {
		if err := checkTexts(text{"residency", r, false}); err != nil {
			return err
		}
	}
	return checkTexts(text{"engine", l.Engine, false}, text{"nonce", l.Nonce, false}, text{"escrow", l.Escrow, true},
		text{"region_declared", l.RegionDeclared, true}, text{"region_observed", l.RegionObserved, true},
		text{"policy", l.Policy, true}, text{"traceparent", l.Traceparent, true})
}

func (v *Verdict) check() error {
	err := checkTexts(text{"hub", v.Hub, false}, text{"account", string(v.Account), false})
	if err == nil {
		err = checkLeases(len(v.Leases), func(i int) core.LeaseID { return v.Leases[i].Lease })
	}
	for i := 0; err == nil && i < len(v.Leases); i++ {
		if err = v.Leases[i].check(); err != nil {
			err = fmt.Errorf("%w (leases[%d])", err, i)
		}
	}
	return err
}

func (l *JudgedLease) check() error {
	switch {
	case l.Lease <= 0 || l.Task <= 0 || l.Part < 0 || l.Checks < 0:
		return fault("lease and task must be IDs, part not negative")
	case l.LogIndex < 0:
		return fault("log index of the receipt is negative")
	case l.Result.IsZero():
		return fault("digest of the result is missing")
	case l.Outcome != Passed && l.Outcome != Rejected:
		return fault("outcome %.20q, want passed or rejected", l.Outcome)
	case l.Transfer < 0 || l.PayMicro < 0:
		return fault("transfer or pay is negative")
	case l.PayMicro > 0 && (l.Transfer == 0 || l.Outcome != Passed):
		return fault("pay without a transfer, or for a rejected lease")
	case len(l.Reason) > MaxError || !utf8.ValidString(l.Reason):
		return fault("reason is not UTF-8 of at most %d bytes", MaxError)
	}
	if len(l.Shares) > maxShares {
		return fault("%d shares, at most %d", len(l.Shares), maxShares)
	}
	for _, s := range l.Shares {
		if s.Transfer <= 0 || s.PayMicro < 0 || s.PayMicro > 0 && l.Outcome != Passed {
			return fault("a share without a transfer, or for a rejected lease")
		}
		if err := checkTexts(text{"shares.node", string(s.Node), false}); err != nil {
			return err
		}
	}
	if d := l.Draw; d != nil {
		if d.Span < 0 {
			return fault("a span of %d", d.Span)
		}
		if d.Rate < 1 || d.Rate > draw.Always {
			return fault("draw at a rate of %d millionths, want 1 to %d", d.Rate, draw.Always)
		}
		if err := checkTexts(text{"secret", d.Secret, false}, text{"nonce", d.Nonce, true}); err != nil {
			return err
		}
	}
	return checkTexts(text{"node", string(l.Node), false}, text{"method", l.Method, false})
}
