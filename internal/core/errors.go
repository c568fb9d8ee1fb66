package core

import (
	"errors"
	"fmt"
)

// Kind classes an error by what the caller can do about it. The HTTP API, the
// CLI's exit code and the retry logic each map Kinds, never messages.
type Kind string

const (
	Invalid      Kind = "invalid"       // the request is malformed: change it
	Unauthorized Kind = "unauthorized"  // no or unknown credentials
	Forbidden    Kind = "forbidden"     // known, but not allowed
	NotFound     Kind = "not-found"     //
	Gone         Kind = "gone"          // was here, and is kept no more
	Conflict     Kind = "conflict"      // the state does not allow it now
	Mismatch     Kind = "mismatch"      // an idempotency key reused with another body
	Unsupported  Kind = "not-supported" // understood, but not built yet
	TooLarge     Kind = "too-large"     // over a size limit
	Insufficient Kind = "insufficient"  // not enough credit
	Throttled    Kind = "rate-limited"  // slow down
	StorageFull  Kind = "storage-full"  // no room on the hub's disk
	Unavailable  Kind = "unavailable"   // try again later
	Internal     Kind = "internal"      // our fault
)

// Error is an error for the edge: a Kind, one public sentence that says what
// was wrong and where, and a Hint that says what to do. Err, if any, is the
// cause; it is logged but not shown to callers.
type Error struct {
	Kind    Kind
	Message string
	Field   string // JSON path of the offending field, if one is to blame
	Hint    string
	Err     error
}

// Errorf returns an Error without hint. A %w verb sets the cause.
func Errorf(k Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: k, Message: err.Error(), Err: errors.Unwrap(err)}
}

// At returns e with the offending field named.
func (e *Error) At(field string) *Error { c := *e; c.Field = field; return &c }

// WithHint returns e with a hint.
func (e *Error) WithHint(hint string) *Error { c := *e; c.Hint = hint; return &c }

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the Kind of the first Error in err's chain, or Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
