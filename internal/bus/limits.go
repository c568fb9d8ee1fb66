package bus

import "time"

// Limits, in one place.
const (
	// MaxMessage bounds one message, headers included, in bytes.
	MaxMessage = 4 << 20

	// Messages received but not yet handled. What comes on top is dropped and
	// counted.
	hubQueueMessages  = 1 << 16
	hubQueueBytes     = 256 << 20
	nodeQueueMessages = 1 << 12
	nodeQueueBytes    = 64 << 20

	// serverMaxPending is how much the embedded server holds for one slow
	// connection before it cuts it off, in bytes.
	serverMaxPending = 32 << 20
	// nodeMaxSubscriptions leaves room for a connection that replaces another.
	nodeMaxSubscriptions = 4

	maxKind        = 32 // bytes of a message kind
	maxTraceparent = 64 // bytes; version 00 has 55
)

// Times of the connection.
const (
	// DefaultStuckAfter is how long a connection may be silent before it is given
	// up and made anew.
	DefaultStuckAfter = 6 * time.Second

	dialTimeout  = 2 * time.Second
	closeTimeout = time.Second
	retryMin     = 50 * time.Millisecond
	retryMax     = 5 * time.Second
	// steadyAfter is how long a connection must last for the next retry to be
	// quick again.
	steadyAfter = 10 * time.Second
	startWithin = 10 * time.Second
)
