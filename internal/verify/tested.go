package verify

import (
	"cmp"
	"fmt"

	"atoll/internal/lifecycle"
	"atoll/internal/planted"
)

// tested is a part's evidence where a reference tests results.
type tested struct {
	terms  *lifecycle.Terms
	part   *lifecycle.Part
	staged bool               // a line has computed the result
	work   *lifecycle.Lease   // whose result the part may have
	tests  []*lifecycle.Lease // that have tested it
	live   bool               // a lease may still deliver
	lone   []Verdict          // of failures that count for nothing
	test   *lifecycle.Test    // what it came to; nil: it was not tested yet
}

func gatherTested(t *lifecycle.Terms, p *lifecycle.Part) *tested {
	e := &tested{terms: t, part: p, staged: p.Staged()}
	for i := range p.Leases {
		l := &p.Leases[i]
		switch {
		case l.Live():
			e.live = true
		case l.State != lifecycle.Reported:
		case l.Failure != "":
			e.lone = append(e.lone, Verdict{Lease: l.ID, Reason: "run failed: " + l.Failure})
		case l.Checks != 0:
			e.tests = append(e.tests, l)
		default:
			e.work = l
		}
	}
	return e
}

// judgeTested is Judge under logprobs.
func judgeTested(t *lifecycle.Terms, p *lifecycle.Part, last bool) Judgement {
	e := gatherTested(t, p)
	left := t.Payable()*t.MaxAttempts - p.Attempts()
	if last {
		left = 0
	}
	e.test = e.outcome()
	switch {
	case e.live:
		return Judgement{Waiting{}, e.lone}
	case e.test != nil && !e.test.Pass && !e.open(left):
		return e.failed(left)
	case e.open(left):
		return Judgement{Lacking{1}, e.lone}
	case e.work == nil && left > 0:
		return Judgement{Lacking{1}, e.lone}
	case e.work == nil:
		return Judgement{Failed{e.exhausted()}, e.lone}
	case e.work.Drawn && e.test == nil && left > 0:
		return Judgement{Lacking{1}, e.lone}
	}
	why, note := "not drawn to be checked", ""
	switch {
	case e.test != nil:
		why = e.tester("tested by a reference: ") + e.test.Reason
	case e.work.Drawn:
		why = "it was drawn to be checked, but no node of another owner could be had"
		note = why
	}
	return Judgement{Agreed{e.work.Result, note}, append(e.lone, e.verdicts(true, why)...)}
}

// failed withholds the pay of a result that has failed its test. The part is tried
// again as long as there are attempts.
func (e *tested) failed(left int) Judgement {
	why := e.tester("its test by a reference failed: ") + e.test.Reason
	j := Judgement{Failed{why}, append(e.lone, e.verdicts(false, why)...)}
	if left > 0 {
		j.Outcome = Lacking{1}
	}
	return j
}

// outcome is what the tests came to. An audit is no proof by itself: who would ruin a
// stage could say that it has found something else. So the stage is believed, unless
// two auditors of different owners agree on who is wrong; then, or while there is but
// one who accuses, the outcome is the accusation.
func (e *tested) outcome() *lifecycle.Test {
	if e.work == nil {
		return nil
	}
	if e.work.Test != nil || !e.staged { // settled without an audit
		return e.work.Test
	}
	var accused *lifecycle.Test
	for _, c := range e.tests {
		switch {
		case c.Test == nil:
		case c.Test.Pass:
			return c.Test
		default:
			accused = c.Test
		}
	}
	if accused == nil || e.accusers() > 1 || planted.Accuse {
		return accused
	}
	alone := *accused
	alone.Blame = "" // nobody has confirmed it
	return &alone
}

// accusers counts the audits that have found a stage wrong.
func (e *tested) accusers() (n int) {
	for _, c := range e.tests {
		if c.Test != nil && !c.Test.Pass {
			n++
		}
	}
	return n
}

// open reports whether one auditor accuses a stage and another can still be asked.
func (e *tested) open(left int) bool {
	return e.staged && e.test != nil && !e.test.Pass && e.accusers() == 1 && left > 0
}

// tester says who tells what a test came to; audits say so themselves.
func (e *tested) tester(reference string) string {
	if e.staged {
		return ""
	}
	return reference
}

// verdicts are of the work and of what has tested it, which is paid either way.
func (e *tested) verdicts(pass bool, why string) (vs []Verdict) {
	v := Verdict{Lease: e.work.ID, Pass: pass, Reason: why}
	if !pass {
		v.Blame = e.test.Blame
	}
	if pass {
		granted, late := pay(e.terms, e.work)
		v.Confirmed, v.Pay, v.Reason = e.test != nil, granted, v.Reason+late
	}
	vs = append(vs, v)
	for _, c := range e.tests {
		if c.Test != nil && c.Test.Pass != e.test.Pass { // an audit that another has contradicted
			vs = append(vs, Verdict{Lease: c.ID, Wrong: true, Reason: "its audit came to something else than the stage and another auditor: " + c.Test.Reason})
			continue
		}
		p, late := pay(e.terms, c)
		vs = append(vs, Verdict{Lease: c.ID, Pass: true, Pay: p, Reason: fmt.Sprintf("has checked %s%s", e.work.ID, late)})
	}
	return vs
}

// exhausted says why a part ends without a result.
func (e *tested) exhausted() string {
	why := ""
	for i := range e.part.Leases {
		switch l := &e.part.Leases[i]; {
		case l.Failure != "":
			why = l.Failure
		case l.Test != nil && !l.Test.Pass:
			why = l.Reason
		case why == "" && l.State == lifecycle.Lost:
			why = l.Reason
		}
	}
	why = cmp.Or(why, e.part.Reason, "no node could be had")
	if e.part.Attempts() == 0 {
		return why
	}
	return fmt.Sprintf("%d attempts used up: %s", e.part.Attempts(), why)
}
