// Package request holds what a caller asks of the hub and on whose behalf, after
// the HTTP API has authenticated and checked it: the words in which httpapi and
// control speak to each other.
package request

import (
	"atoll/api"
	"atoll/internal/core"
)

// Viewer is on whose behalf a read is made. Rows of other accounts are not
// found, except for an admin.
type Viewer struct {
	Account core.AccountID
	Admin   bool
}

// Page asks for rows after Cursor, at most Limit.
type Page struct {
	Cursor string
	Limit  int
}

// Submission is a validated POST /v1/submit-task.
type Submission struct {
	Account     core.AccountID
	Key         string      // Idempotency-Key, may be empty
	Body        core.Digest // of the body as sent: same key, other body is core.Mismatch
	Spec        *api.TaskSpec
	Traceparent string
	// Input is the input itself, where it does not come as Spec.Input; Ends are then
	// where its parts end, in bytes from its beginning. nil: it is one part.
	Input []byte
	Ends  []int64
	// Batch, if not nil, is stored together with the task.
	Batch *Batch
	// Preview lets the result be read while it comes into being, if only one lease
	// makes it.
	Preview bool
}

// ModelUpload registers bytes that were stored before.
type ModelUpload struct {
	Name        string      `json:"name"`
	Engine      string      `json:"engine"`
	Digest      core.Digest `json:"digest"`
	Description string      `json:"description,omitempty"`
}
