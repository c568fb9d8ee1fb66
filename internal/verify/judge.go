// Package verify decides, from what nodes reported, which results count: the
// verdict that gates every payment. It also keeps nodes' reputation. It is pure.
//
// One rule serves all methods: a part has k replicas, and a result counts when a
// of them, each of another owner, are equal. Under "none" both are 1, under
// "quorum" they are the task's. Under "reexecute" both are 1, unless the result
// is drawn to be run again (see package draw): then both are 2. Nothing is
// decided while a replica is still out, so that none can copy another.
//
// If the two of a re-execution differ, a third owner is asked, and further ones
// as long as there are attempts; who disagrees with two that agree is wrong. If
// no other owner can be had in time, a drawn result that nobody contradicts
// stands and is paid, and says that it rests on one owner; contradicted, it
// fails with nobody paid and nobody blamed.
//
// Under "logprobs" results of different owners cannot be compared. One that is drawn
// is read by another owner's reference, whose scores are tested (see internal/rescore):
// if they pass both are paid, if not the reference alone, and the part is tried again.
// Nobody is blamed: a test is no proof. Of what a line of nodes has computed, one stage
// is audited in the same way (see internal/shard/audit); there the links that a stage
// has signed are the proof, and it is blamed that has signed for something else.
package verify

import (
	"atoll/internal/core"
	"atoll/internal/lifecycle"
)

// Judgement is what the judge makes of a part's evidence.
type Judgement struct {
	Outcome Outcome
	// Verdicts are of leases that nothing more can come of. They may precede the
	// outcome.
	Verdicts []Verdict
}

// Outcome says how a part stands. It is Waiting, Lacking, Agreed or Failed.
type Outcome interface{ outcome() }

type (
	// Waiting means that leases are out: nothing can be said.
	Waiting struct{}
	// Lacking means that nothing can be decided before so many more leases have
	// been placed.
	Lacking struct{ Leases int }
	// Agreed means that the part has its result.
	Agreed struct {
		Result core.Digest
		// Note, if not empty, is what a reader of the result must know: that it
		// rests on less than the task asks for.
		Note string
	}
	// Failed means that the part has no result and will have none.
	Failed struct{ Why string }
)

func (Waiting) outcome() {}
func (Lacking) outcome() {}
func (Agreed) outcome()  {}
func (Failed) outcome()  {}

// Verdict is what becomes of one reported lease.
type Verdict struct {
	Lease     core.LeaseID
	Pass      bool
	Confirmed bool        // another owner has said the same: counts for the node
	Wrong     bool        // the result differs from the agreed one: counts against the node
	Blame     core.NodeID // of a line, which is proven wrong; empty: nobody
	Pay       core.Money
	Reason    string
}

// Judge looks at a part that has not ended, and changes nothing. last says that
// no further lease can be had, so that what is there must do.
func Judge(t *lifecycle.Terms, p *lifecycle.Part, last bool) Judgement {
	if p.Tested(t) {
		return judgeTested(t, p, last)
	}
	e := gather(t, p)
	left := e.most*t.MaxAttempts - p.Attempts()
	if last {
		left = 0
	}
	if left <= 0 && e.unchecked() {
		e.agree = 1
	}
	missing := e.replicas - e.live - len(e.reported)
	win := e.agreed()
	switch {
	case missing > 0 && left > 0:
		return Judgement{Lacking{min(missing, left)}, e.lone}
	case e.live > 0:
		return Judgement{Waiting{}, e.lone}
	case win != nil && win.Failure == "":
		return Judgement{Agreed{win.Result, e.note(win)}, e.decide(win)}
	case win != nil:
		return Judgement{Failed{e.ownFault(win)}, e.decide(win)}
	case left > 0: // inconclusive: as many more as the largest group lacks
		return Judgement{Lacking{min(max(e.agree-e.largest(), 1), left)}, nil}
	}
	return Judgement{Failed{e.exhausted()}, append(e.lone, e.undecided()...)}
}
