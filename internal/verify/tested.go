package verify

import (
	"cmp"
	"fmt"

	"atoll/internal/lifecycle"
)

// tested is a part's evidence where a reference tests results.
type tested struct {
	terms *lifecycle.Terms
	part  *lifecycle.Part
	work  *lifecycle.Lease // whose result the part may have
	check *lifecycle.Lease // that has tested it
	live  bool             // a lease may still deliver
	lone  []Verdict        // of failures that count for nothing
}

func gatherTested(t *lifecycle.Terms, p *lifecycle.Part) *tested {
	e := &tested{terms: t, part: p}
	for i := range p.Leases {
		l := &p.Leases[i]
		switch {
		case l.Live():
			e.live = true
		case l.State != lifecycle.Reported:
		case l.Failure != "":
			e.lone = append(e.lone, Verdict{Lease: l.ID, Reason: "run failed: " + l.Failure})
		case l.Checks != 0:
			e.check = l
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
	if e.work != nil && e.work.Test != nil && !e.work.Test.Pass {
		return e.failed(left)
	}
	switch {
	case e.live:
		return Judgement{Waiting{}, e.lone}
	case e.work == nil && left > 0:
		return Judgement{Lacking{1}, e.lone}
	case e.work == nil:
		return Judgement{Failed{e.exhausted()}, e.lone}
	case e.work.Drawn && e.work.Test == nil && left > 0:
		return Judgement{Lacking{1}, e.lone}
	}
	why, note := "not drawn to be tested", ""
	switch {
	case e.work.Test != nil:
		why = "tested by a reference: " + e.work.Test.Reason
	case e.work.Drawn:
		why = "it was drawn to be tested, but no reference of another owner could be had"
		note = why
	}
	return Judgement{Agreed{e.work.Result, note}, append(e.lone, e.verdicts(true, why)...)}
}

// failed withholds the pay of a result that has failed its test. The part is tried
// again as long as there are attempts.
func (e *tested) failed(left int) Judgement {
	why := "its test by a reference failed: " + e.work.Test.Reason
	j := Judgement{Failed{why}, append(e.lone, e.verdicts(false, why)...)}
	if left > 0 {
		j.Outcome = Lacking{1}
	}
	return j
}

// verdicts are of the work and of what has tested it, which is paid either way.
func (e *tested) verdicts(pass bool, why string) (vs []Verdict) {
	v := Verdict{Lease: e.work.ID, Pass: pass, Reason: why}
	if pass {
		granted, late := pay(e.terms, e.work)
		v.Confirmed, v.Pay, v.Reason = e.work.Test != nil, granted, v.Reason+late
	}
	vs = append(vs, v)
	if e.check != nil {
		p, late := pay(e.terms, e.check)
		vs = append(vs, Verdict{Lease: e.check.ID, Pass: true, Pay: p, Reason: fmt.Sprintf("has tested %s%s", e.work.ID, late)})
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
