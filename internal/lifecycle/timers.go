package lifecycle

// What has happened to a live lease by the passing of time.
type Overdue int

// Outcomes of Check, mildest first.
const (
	OnTime   Overdue = iota
	Resend           // the offer may have been lost: say it again
	NoAnswer         // the node never answered the offer
	NodeLost         // the node has been silent too long
	TooSlow          // the execution timeout has passed
	NeverRan         // accepted, but not started within the queue timeout
)

// Moments, in milliseconds, of the offer's handshake. A node answers an offer
// within 20 ms unless the message or the node is lost.
const (
	ResendAfterMs = 1_000
	AnswerAfterMs = 5_000
	// ReportGraceMs is granted on top of the execution and queue timeouts, which the
	// node itself enforces, for its word to arrive. Without it a requester with
	// tight timeouts could spoil the record of honest nodes.
	ReportGraceMs = 2_000
)

// Check says what is overdue about a live lease at nowMs, given when its node
// was last heard of and when the offer was last sent.
func Check(t *Terms, l *Lease, nowMs, nodeSeenMs, sentMs int64) Overdue {
	if !l.Live() {
		return OnTime
	}
	silent := nowMs - max(nodeSeenMs, l.OfferedMs)
	if t.Replace && silent >= t.LostAfterMs {
		return NodeLost
	}
	switch l.State {
	case Started:
		if nowMs-l.StartedMs > t.ExecutionMs+ReportGraceMs && (t.Replace || silent < t.LostAfterMs) {
			return TooSlow
		}
	case Accepted:
		if nowMs-l.OfferedMs > t.QueueMs+ReportGraceMs && (t.Replace || silent < t.LostAfterMs) {
			return NeverRan
		}
	case Offered:
		if nowMs-l.OfferedMs > AnswerAfterMs && (t.Replace || silent < t.LostAfterMs) {
			return NoAnswer
		}
		if nowMs-sentMs >= ResendAfterMs {
			return Resend
		}
	}
	return OnTime
}
