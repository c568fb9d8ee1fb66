package lifecycle

import (
	"fmt"

	"atoll/internal/core"
)

// TaskState is where a task is on its way.
type TaskState string

// States of a task. The last four are final.
const (
	Queued        TaskState = "queued"    // durably accepted
	Placing       TaskState = "placing"   // some part waits for a node and none runs
	Running       TaskState = "running"   // leases are out
	Verifying     TaskState = "verifying" // all parts have reported, some await their verdict
	Succeeded     TaskState = "succeeded"
	Failed        TaskState = "failed"
	TaskCancelled TaskState = "cancelled"
	Expired       TaskState = "expired"
)

// Terms are what a task asks of its leases, fixed at submit.
type Terms struct {
	QueueMs         int64      `json:"queue"`
	ExecutionMs     int64      `json:"exec"`
	TotalMs         int64      `json:"total"`
	DeadlineMs      int64      `json:"deadline,omitzero"` // a moment, 0 if none
	MaxAttempts     int        `json:"attempts"`          // of each replica
	LostAfterMs     int64      `json:"lost_after"`
	Replace         bool       `json:"replace,omitzero"`
	Method          Method     `json:"method"`
	Replicas        int        `json:"replicas"`
	Agree           int        `json:"agree"`
	Staged          bool       `json:"staged,omitzero"` // a line of nodes does the work
	Rate            int64      `json:"rate,omitzero"`   // of results run again, in millionths
	Span            int        `json:"span,omitzero"`   // tokens of an answer that are run again; 0: the whole
	Nonce           string     `json:"nonce,omitzero"`  // the requester's, for the draw
	LatencyMs       int64      `json:"latency,omitzero"`
	PenaltyPerMille int        `json:"penalty,omitzero"`
	MaxCost         core.Money `json:"max_cost"`
}

// Method is how results are verified.
type Method string

// Methods of verification.
const (
	None      Method = "none"
	Quorum    Method = "quorum"    // every part by several owners
	Reexecute Method = "reexecute" // a sample, drawn afterwards, by another owner
	Logprobs  Method = "logprobs"  // a sample, read by another owner's model with the same weights
)

// Compared reports whether one owner's results may be held against another's.
func (t *Terms) Compared() bool { return t.Method != None }

// Payable is how many leases of a part may be paid. Of a result that is run
// again that is the work, and what showed who was right.
func (t *Terms) Payable() int {
	switch t.Method {
	case Logprobs:
		return 2 // the work, and what has tested it
	case Reexecute:
		return disputants
	}
	return t.Replicas
}

// MostPaid bounds the paid leases of a part over all its attempts: who tests a result is
// paid for finding it wrong, too, and then the part is tried again.
func (t *Terms) MostPaid() int {
	if t.Method == Logprobs || t.Staged {
		return t.Payable() * t.MaxAttempts
	}
	return t.Payable()
}

// Sampled reports whether a lot decides which results are looked at again.
func (t *Terms) Sampled() bool { return t.Method == Reexecute || t.Method == Logprobs }

// disputants are the owners that it takes to settle a dispute: two who differ,
// and a third.
const disputants = 3

// Task is a task without its parts.
type Task struct {
	ID        core.TaskID    `json:"id"`
	Account   core.AccountID `json:"account"`
	State     TaskState      `json:"state"`
	Reason    string         `json:"why"`
	CreatedMs int64          `json:"created"`
	EndedMs   int64          `json:"ended,omitzero"`
	Terms     Terms          `json:"terms"`

	Model       string      `json:"model"` // name@version or digest, as resolved
	Engine      string      `json:"engine"`
	ModelDigest core.Digest `json:"model_digest"`
	ModelSize   int64       `json:"model_size"`
	Upstream    string      `json:"upstream,omitempty"` // what the model is called at providers' own servers
	OneArch     bool        `json:"one_arch,omitzero"`  // replicas must share a platform class
	// Reference is the model that tests answers of one that is at providers' own
	// servers.
	Reference     core.Digest `json:"reference,omitzero"`
	ReferenceSize int64       `json:"reference_size,omitzero"`
	InputBlob     core.Digest `json:"input_blob,omitzero"`
	Residency     []string    `json:"residency,omitempty"` // as resolved, with versions
	Traceparent   string      `json:"trace,omitempty"`

	Parts     int         `json:"parts"`
	Succeeded int         `json:"ok,omitzero"`
	Failed    int         `json:"bad,omitzero"`
	Short     int         `json:"short,omitzero"` // of the succeeded: decided by fewer owners than asked for
	Moved     int         `json:"moved,omitzero"` // leases lost and replaced
	Committed core.Money  `json:"committed,omitzero"`
	Paid      core.Money  `json:"paid,omitzero"`
	Pending   core.Money  `json:"pending,omitzero"` // granted, not yet paid
	Refunded  core.Money  `json:"refunded,omitzero"`
	Settled   bool        `json:"settled,omitzero"` // nothing held any more
	Events    int64       `json:"events,omitzero"`  // how many were written
	Key       string      `json:"key,omitempty"`    // the Idempotency-Key, forgotten with its data
	PrunedMs  int64       `json:"pruned,omitzero"`  // since when input, results and events are gone
	Bytes     int64       `json:"bytes,omitzero"`   // kept for it, at the charge of its account
	NotChosen []NotChosen `json:"not_chosen,omitempty"`
}

// NotChosen says why a node was not used at the last placement that fell short.
type NotChosen struct {
	Node   core.NodeID    `json:"node"`
	Owner  core.AccountID `json:"owner"`
	Reason string         `json:"why"`
}

// Ended reports whether the task is in a final state.
func (t *Task) Ended() bool { return t.State.Ended() }

// Ended reports whether s is final.
func (s TaskState) Ended() bool {
	return s == Succeeded || s == Failed || s == TaskCancelled || s == Expired
}

// Remaining is what may still be promised to new leases.
func (t *Task) Remaining() core.Money { return t.Terms.MaxCost - t.Committed }

// DueMs is the moment at which the task expires.
func (t *Task) DueMs() int64 {
	due := t.CreatedMs + t.Terms.TotalMs
	if d := t.Terms.DeadlineMs; d != 0 && d < due {
		return d
	}
	return due
}

// End returns the final state that a task whose parts have all ended is in,
// with the reason. timedOut says that some part waited too long for a node.
func (t *Task) End(timedOut bool, partReason string) (TaskState, string) {
	switch {
	case t.Parts == 1 && t.Failed == 0 && t.Short == 1:
		return Succeeded, "done, decided by fewer owners than asked for"
	case t.Parts == 1 && t.Failed == 0:
		return Succeeded, "done"
	case t.Parts == 1 && timedOut:
		return Expired, "no node in time: " + partReason
	case t.Parts == 1:
		return Failed, partReason
	case t.Failed == 0 && t.Short > 0:
		return Succeeded, fmt.Sprintf("all %d parts done, %d of them decided by fewer owners than asked for", t.Parts, t.Short)
	case t.Failed == 0:
		return Succeeded, fmt.Sprintf("all %d parts done", t.Parts)
	case timedOut:
		return Expired, fmt.Sprintf("%d of %d parts found no node in time: %s", t.Failed, t.Parts, partReason)
	default:
		return Failed, fmt.Sprintf("%d of %d parts failed: %s", t.Failed, t.Parts, partReason)
	}
}

// Event is one state change, in words.
type Event struct {
	ID      int64        `json:"id"`
	Ms      int64        `json:"ms"`
	Type    string       `json:"type"`
	Part    int          `json:"part"` // -1 for the task itself
	Lease   core.LeaseID `json:"lease,omitzero"`
	Node    core.NodeID  `json:"node,omitempty"`
	Message string       `json:"msg"`
}
