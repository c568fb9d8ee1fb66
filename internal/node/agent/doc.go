// Package agent is a node's judgement and memory: which leases it takes, what it
// runs when, what it has promised, and what the hub still has to hear.
//
// # Two halves
//
// [Core] decides. It is one single-threaded state machine without goroutines,
// clock, network or disk of its own: each method takes the time and an event and
// returns [Effects], what is to be done about it. [Agent] does: it owns the
// goroutines around one Core, the engines, and the connections. A simulator
// takes the Agent's place and drives the very same Core.
//
//	          Lease Ack Cancel Connected Tick Drain        from the hub, the clock, the owner
//	                    │
//	                    ▼
//	Outbox ◄─ Batch ◄─ Core ─► Effects: Send  ─► hub
//	(disk)    Commit    ▲               Start ─► a run ─┐
//	                    │               Upload─► hub    │
//	                    └── Running Done Uploaded ◄─────┘
//
// # The way of a lease
//
//	offered ─► refused                            the reason goes to the hub
//	   └─► queued ─► running ─► (uploading) ─► finished ─► stored ─► acknowledged
//
// Finished leases wait for [Core.Take], which hands out all of them as one
// [Batch]. [Batch.Commit] signs one statement for each account among them and
// stores the reports in the outbox in one durable write; it touches nothing of
// the Core, so it may run beside it. Only [Core.Committed] lets the reports out.
// They are sent again, less and less often, until the hub has acknowledged them.
//
// # What holds
//
//   - A lease is run at most once in one life of an agent, however often it is
//     offered. After a restart the agent has forgotten what it had not stored,
//     and the hub, which sees a new boot ID, offers it again. An offer names the
//     life that it is for, so that late copies do nothing.
//   - A report is sent only after it is stored, so as long as the hub has not
//     acknowledged a lease there are no two receipts of it that it could have
//     seen.
//   - A stored report is sent until it is acknowledged, and not after.
//   - The same offer gets the same answer.
//
// # Time
//
// The Core measures intervals between the times it is given and lets no
// interval be negative, so that a clock that steps back delays nothing. What the
// hub dates (when a lease expires) is compared with the hub's own clock, as
// estimated from the batches it signs.
package agent
