package verify

import (
	"fmt"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
)

// decide gives each reported lease its verdict, now that win's result is agreed.
func (e *evidence) decide(win *lifecycle.Lease) (vs []Verdict) {
	paid := 0
	for _, l := range e.reported {
		v := Verdict{Lease: l.ID}
		switch {
		case !e.right(l, win) && l.Failure != "":
			v.Wrong, v.Reason = true, "run failed where others succeeded: "+l.Failure
		case !e.right(l, win):
			v.Wrong, v.Reason = true, fmt.Sprintf("result %s differs from %s, on which %s", l.Result.Short(), win.Result.Short(), e.tally(win))
		case win.Failure != "":
			v.Reason = "the part's own failure, as agreed: " + win.Failure
		case paid == e.most:
			v.Reason = "agrees, but the part's replicas are already paid"
		default:
			paid++
			v.Pass, v.Confirmed = true, e.count(win) > 1
			v.Pay, v.Reason = pay(e.terms, l)
			v.Reason = e.passed(l, win) + v.Reason
		}
		vs = append(vs, v)
	}
	return vs
}

// passed says what a result that passes rests on.
func (e *evidence) passed(l, win *lifecycle.Lease) string {
	switch {
	case e.contradicts(l):
		return "rightly contradicted a wrong result: " + e.tally(win)
	case e.terms.Method == lifecycle.Reexecute && e.replicas == 1:
		return "not drawn to be run again"
	case e.terms.Method == lifecycle.Reexecute && !e.unchecked():
		return "run again: " + e.tally(win)
	case e.replicas == 1:
		return "accepted without verification, as the task asks"
	}
	return e.tally(win)
}

// undecided rejects, without blame, what was reported for a part that failed.
func (e *evidence) undecided() (vs []Verdict) {
	for _, l := range e.reported {
		reason := "not enough owners agree"
		if l.Failure != "" {
			reason = "run failed: " + l.Failure
		}
		vs = append(vs, Verdict{Lease: l.ID, Reason: reason})
	}
	return vs
}

// pay is the quoted price, less the penalty when the report came later than the
// task's latency target, by the hub's clock.
func pay(t *lifecycle.Terms, l *lifecycle.Lease) (core.Money, string) {
	took := l.ReportedMs - l.OfferedMs
	if t.LatencyMs == 0 || t.PenaltyPerMille == 0 || took <= t.LatencyMs {
		return l.Price, ""
	}
	cut := l.Price.PerMille(t.PenaltyPerMille)
	return l.Price - cut, fmt.Sprintf("; %d ms is over the %d ms asked for: %s withheld", took, t.LatencyMs, cut)
}
