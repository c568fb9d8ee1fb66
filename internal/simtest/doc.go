// Package simtest runs a whole network in one process, on one thread, under a
// seeded clock, disk and network, and judges what came of it.
//
// The hub is the real one: control over SQLite, with the crash points of its
// writer. Each node is the real agent's core over an outbox in memory; only the
// engine is a stand-in, a function whose true result everyone can compute. What
// lies between them is made of the seed alone: messages are lost, doubled, late
// and out of order; nodes are cut off; hub and nodes crash between any two steps
// and come back; clocks jump; up to a third of the owners lie, some of them
// together; clients lose answers and ask again.
//
//	client ──rpc──▶ hub (control, SQLite) ──link──▶ node (agent core, outbox)
//	   │             ▲          │                      │
//	   │             └──────────┴───────link───────────┘
//	   └─▶ its own log of what was acknowledged ──▶ judge ◀── rows of SQL, the log
//
// In some runs several nodes hold one model. Planning, charters, statements, audits and
// pay are the real ones there too; what the stages compute is a chain of hashes, so that
// whoever computes anything else spoils all that comes after. Liars among them compute,
// sign or write something else, or refuse to answer.
//
// A run has two phases. In the first everything above happens. Then the network
// heals, time passes until all is quiet, and the judge looks: first at what each
// client was promised, then at the rows, read by SQL of its own.
//
// Equal seeds give equal runs: Result.Trace is a digest over every step. To look
// into a failing seed:
//
//	go test ./internal/simtest -run TestSeeds -seed 1234 -v
//
// # Files
//
// world (clock and trace), lab (what runs share), net (links), build, hub, node,
// signer, client: who takes part. line, linework, lineaudit: how nodes hold a model
// together, compute with it and check one another. chaos: what is done to them. watch: what is
// judged while it happens. judge, judgeline, judgemoney, judgelog, over the rows of rows:
// what is judged afterwards.
package simtest
