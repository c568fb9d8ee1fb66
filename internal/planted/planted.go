// Package planted holds the bugs that the simulation must be able to find. Each
// is a constant at a production guard, false in every normal build; a build
// with the tag plant_NAME sets that one to true, and the suite then demands
// that simtest finds it. A guard that no seed needs would show up as a bug that
// is not found.
//
//	plant_dedupe   submit ignores an idempotency key seen before
//	plant_ack      the hub acknowledges a report before it is durable
//	plant_commit   a request is answered before its transaction is committed
//	plant_pay      a verdict is paid before a checkpoint covers it
//	plant_draw     no result is drawn to be run again
//	plant_spread   replicas of one part may share an owner
//	plant_send     a node sends a report before it has stored it
//	plant_resign   the log's tree gets a leaf that was signed again
package planted
