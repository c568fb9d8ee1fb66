package openaiwire

import "github.com/go-json-experiment/json/jsontext"

// File is content that is kept. Times are Unix seconds.
type File struct {
	ID        string `json:"id"`
	Object    string `json:"object"` // ObjectFile
	Bytes     int64  `json:"bytes"`
	CreatedAt int64  `json:"created_at"`
	ExpiresAt *int64 `json:"expires_at,omitzero"`
	Filename  string `json:"filename"`
	Purpose   string `json:"purpose"`
	Status    string `json:"status"` // processed: old, but clients ask
}

// Page is a list of which more may be had: after LastID.
type Page[T any] struct {
	Object  string  `json:"object"` // ObjectList
	Data    []T     `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// Deleted is the answer to a DELETE.
type Deleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

// BatchRequest is the body of POST /v1/batches.
type BatchRequest struct {
	InputFileID      string            `json:"input_file_id"`
	Endpoint         string            `json:"endpoint"`
	CompletionWindow string            `json:"completion_window"`
	Metadata         map[string]string `json:"metadata,omitzero"`

	Extra map[string]jsontext.Value `json:",embed"` //nolint:staticcheck // it knows the options of encoding/json alone
}

// Batch is many requests that are done when there is time. Times are Unix seconds.
type Batch struct {
	ID               string            `json:"id"`
	Object           string            `json:"object"` // ObjectBatch
	Endpoint         string            `json:"endpoint"`
	Model            string            `json:"model,omitzero"`
	Errors           *struct{}         `json:"errors"` // null: a file that cannot be done is refused at once
	InputFileID      string            `json:"input_file_id"`
	CompletionWindow string            `json:"completion_window"`
	Status           string            `json:"status"` // in_progress, completed, expired or cancelled
	OutputFileID     *string           `json:"output_file_id"`
	ErrorFileID      *string           `json:"error_file_id"`
	CreatedAt        int64             `json:"created_at"`
	InProgressAt     int64             `json:"in_progress_at"`
	ExpiresAt        int64             `json:"expires_at"`
	CompletedAt      *int64            `json:"completed_at"`
	FailedAt         *int64            `json:"failed_at"` // null
	ExpiredAt        *int64            `json:"expired_at"`
	CancelledAt      *int64            `json:"cancelled_at"`
	RequestCounts    RequestCounts     `json:"request_counts"`
	Metadata         map[string]string `json:"metadata"`
}

// RequestCounts say how far a batch is.
type RequestCounts struct {
	Total     int `json:"total"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

// BatchLine is a line of a batch's input.
type BatchLine struct {
	CustomID string         `json:"custom_id"`
	Method   string         `json:"method"`
	URL      string         `json:"url"`
	Body     jsontext.Value `json:"body"`
}

// BatchAnswer is a line of a batch's output, with Response, or of its errors: with a
// Response that is no success, or with Error where there is none.
type BatchAnswer struct {
	ID       string         `json:"id"`
	CustomID string         `json:"custom_id"`
	Response *BatchResponse `json:"response"`
	Error    *BatchError    `json:"error"`
}

// BatchResponse is what the request would have been answered if it had been sent by
// itself.
type BatchResponse struct {
	StatusCode int    `json:"status_code"`
	RequestID  string `json:"request_id"`
	Body       any    `json:"body"`
}

// BatchError says why a request was not answered.
type BatchError struct {
	Code    string `json:"code"` // batch_expired, batch_cancelled or server_error
	Message string `json:"message"`
}
