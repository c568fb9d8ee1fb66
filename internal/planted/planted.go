// Package planted holds the bugs that the suite must be able to find. Each is a
// constant at a production guard, false in every normal build; a build with the
// tag plant_NAME sets that one to true, and simtest's TestPlanted then demands
// that a seed of the simulation, or a named test, finds it. A guard that nothing
// needs would show up as a bug that is not found.
//
//	plant_dedupe   submit ignores an idempotency key seen before
//	plant_ack      the hub acknowledges a report before it is durable
//	plant_commit   a request is answered before its transaction is committed
//	plant_pay      a verdict is paid before a checkpoint covers it
//	plant_draw     no result is drawn to be run again
//	plant_spread   replicas of one part may share an owner
//	plant_send     a node sends a report before it has stored it
//	plant_resign   the log's tree gets a leaf that was signed again
//
// And of models that several nodes hold:
//
//	plant_stale    a stage takes rows on a stream of an epoch that is over
//	plant_twice    a stage takes rows again that it has already
//	plant_account  what one stage says it has sent need not be what the next has received
//	plant_accuse   one auditor's word is enough to blame a stage
//	plant_charter  a node goes on with a line that is over
//	plant_suspect  a node that was found wrong gets unchecked work, and layers
//
// And of sums under masks:
//
//	plant_secondvector  a member that has crashed masks another vector with the same masks
//	plant_shortseed     masks come from 32 bits
//	plant_bothshares    a member opens for survivors that it has not signed
//
// And of privacy:
//
//	plant_overspend  a dataset's budget is never used up
//	plant_thin       noise is shared out as if nobody dropped out or told theirs
//	plant_long       a rounding is sent that is longer than the noise is for
package planted
