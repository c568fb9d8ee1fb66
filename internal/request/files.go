package request

import (
	"time"

	"atoll/internal/core"
)

// File is content that an account keeps under an ID until it deletes it or its
// time is over.
type File struct {
	ID        core.FileID    `json:"id"`
	Account   core.AccountID `json:"account"`
	Name      string         `json:"name"`
	Purpose   string         `json:"purpose"`
	Size      int64          `json:"size"`            // bytes
	Digest    core.Digest    `json:"digest,omitzero"` // of its content; none if that is derived from Batch
	Batch     core.TaskID    `json:"batch,omitzero"`
	CreatedMs int64          `json:"created"`
	ExpiresMs int64          `json:"expires,omitzero"` // 0: never
}

// NewFile is what is said of content that is to be a file.
type NewFile struct {
	Name, Purpose string
	Keep          time.Duration // from now; 0: as long as the hub keeps any data
}

// FileQuery asks for some of an account's files: those after one, in the order asked for.
type FileQuery struct {
	Purpose     string // empty: any
	After       core.FileID
	Limit       int
	OldestFirst bool
}

// Batch is what makes a task of many requests a batch of the OpenAI API. Each part
// has Each requests; the last may have fewer.
type Batch struct {
	Task     core.TaskID       `json:"task"`
	Account  core.AccountID    `json:"account"`
	Endpoint string            `json:"endpoint"` // a path, such as /v1/embeddings
	Input    core.FileID       `json:"input"`
	Window   string            `json:"window"` // completion_window as it was sent
	Metadata map[string]string `json:"metadata,omitempty"`
	Requests int               `json:"requests"`
	Each     int               `json:"each"`
	Base64   bool              `json:"base64,omitzero"` // how vectors are written
	// Done is set once somebody has looked at the batch after its end.
	Done *BatchDone `json:"done,omitempty"`
}

// BatchDone is what has come of a batch. Files of no bytes are not made.
type BatchDone struct {
	Completed int         `json:"completed"`
	Failed    int         `json:"failed"`
	Output    core.FileID `json:"output,omitzero"`
	Errors    core.FileID `json:"errors,omitzero"`
}
