package agent

import "time"

// Times of the protocol.
const (
	HeartbeatEvery = 500 * time.Millisecond
	// statusEvery is the least time between two status messages, and the most
	// that good news waits.
	statusEvery = 100 * time.Millisecond
	// company is the most that a finished lease waits for others to share its
	// signature and its durable write, and only while others are at hand. Both
	// cost the same for one lease as for many, here and at the hub.
	company   = 10 * time.Millisecond
	resendMin = time.Second
	resendMax = 30 * time.Second
	// resendLeast is the least time between two sendings of one report, however
	// often the hub offers its leases again.
	resendLeast = 100 * time.Millisecond
	// forgetWithin is how long an acknowledged report may stay on disk where no
	// other write takes its removal along.
	forgetWithin = time.Second
	// clockWindow is over how many batches the hub's clock is estimated.
	clockWindow = 4
)

// Limits on what a node holds.
const (
	// ReportLeases and ReportBytes bound the leases of one report, and their
	// inline results. One result is at most bus.InlineLimit.
	ReportLeases = 256
	ReportBytes  = 1 << 20
	batchReports = 8 // reports in one durable write

	// rememberLeases is how many leases an agent remembers after they are over.
	rememberLeases = 1 << 16
	// maxOutboxBytes of unacknowledged reports stop the node from taking more.
	maxOutboxBytes = 64 << 20
	// resendBytes bound what is sent again at one moment.
	resendBytes = 2 << 20

	statusRefusals = 2000 // refusals in one status message
	maxQueue       = 1 << 16
	maxToken       = 128 // bytes of a nonce or traceparent
	maxReason      = 300 // bytes of a refusal's reason
	maxExecutionMs = 7 * 24 * 3600 * 1000
	maxFailure     = 400 // bytes of a failed part's error text
)
