// Package verify decides, from what nodes reported, which results count: the
// verdict that gates every payment. It also keeps nodes' reputation. It is pure.
//
// One rule serves "none" and "quorum": a part has k replicas (1 for none), and
// a result counts when a of them, each of another owner, are equal. Nothing is
// decided while a replica is still out, so that none can copy another.
package verify

import (
	"cmp"
	"fmt"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
)

// Verdict is what becomes of one reported lease.
type Verdict struct {
	Lease  core.LeaseID
	Pass   bool
	Wrong  bool // the result differs from the agreed one: counts against the node
	Pay    core.Money
	Reason string
}

// Judgement is the state of a part's evidence.
type Judgement struct {
	// Decided is set when the part's outcome is known; then either Result is the
	// agreed digest or Failure says why the part failed.
	Decided bool
	Result  core.Digest
	Failure string
	// Note, if not empty, is what a reader of the result must know: that it rests
	// on less than the task asks for.
	Note string
	// Verdicts may come before the decision.
	Verdicts []Verdict
	// Need is how many more leases must be placed before anything can be
	// decided. Zero while leases are out or the part is decided.
	Need int
}

// Judge looks at a part. It never changes it. last says that no further lease
// can be had, so that what is there must do.
func Judge(t *lifecycle.Terms, p *lifecycle.Part, last bool) Judgement {
	if p.Ended() {
		return Judgement{Decided: true}
	}
	var reported []*lifecycle.Lease
	var lone []Verdict
	live := 0
	for i := range p.Leases {
		l := &p.Leases[i]
		switch {
		case l.State == lifecycle.Reported && l.Failure != "" && t.Replicas == 1:
			// A lone failure is no evidence of anything: rejected, and tried again.
			lone = append(lone, Verdict{Lease: l.ID, Reason: "run failed: " + l.Failure})
		case l.State == lifecycle.Reported:
			reported = append(reported, l)
		case l.Live():
			live++
		}
	}
	left := t.Replicas*t.MaxAttempts - p.Attempts()
	if last {
		left = 0
	}
	if missing := t.Replicas - live - len(reported); missing > 0 && left > 0 {
		return Judgement{Need: min(missing, left), Verdicts: lone}
	}
	if live > 0 {
		return Judgement{Verdicts: lone}
	}
	if win, ok := agreed(t, reported); ok {
		return decide(t, reported, win)
	}
	if left <= 0 {
		return Judgement{Decided: true, Failure: exhausted(t, p, reported), Verdicts: append(lone, undecided(reported)...)}
	}
	// Inconclusive: as many more as the largest group lacks.
	best := 0
	for _, l := range reported {
		best = max(best, count(reported, l))
	}
	return Judgement{Need: min(max(t.Agree-best, 1), left)}
}

func same(a, b *lifecycle.Lease) bool {
	return a.Result == b.Result && (a.Failure == "") == (b.Failure == "")
}

func count(reported []*lifecycle.Lease, of *lifecycle.Lease) (n int) {
	for _, l := range reported {
		if same(l, of) {
			n++
		}
	}
	return n
}

// agreed returns a lease of the group that has enough equal results. Validation
// keeps Agree over half of Replicas; after inconclusive rounds two groups could
// still both reach it, and then nothing is agreed.
func agreed(t *lifecycle.Terms, reported []*lifecycle.Lease) (*lifecycle.Lease, bool) {
	var win *lifecycle.Lease
	for _, l := range reported {
		if count(reported, l) < t.Agree {
			continue
		}
		if win != nil && !same(win, l) {
			return nil, false
		}
		win = l
	}
	return win, win != nil
}

func decide(t *lifecycle.Terms, reported []*lifecycle.Lease, win *lifecycle.Lease) Judgement {
	j := Judgement{Decided: true, Result: win.Result}
	agree := count(reported, win)
	short := shortOf(t, len(reported))
	if short != "" {
		j.Note = fmt.Sprintf("%d of %d owners agree%s", agree, len(reported), short)
	}
	if win.Failure != "" {
		j.Result, j.Failure = core.Digest{}, fmt.Sprintf("%d of %d owners report: %s%s", agree, len(reported), win.Failure, short)
	}
	paid := 0
	for _, l := range reported {
		v := Verdict{Lease: l.ID}
		switch {
		case !same(l, win) && l.Failure != "":
			v.Wrong, v.Reason = true, "run failed where others succeeded: "+l.Failure
		case !same(l, win):
			v.Wrong, v.Reason = true, fmt.Sprintf("result %s differs from %s, on which %d of %d owners agree%s", l.Result.Short(), win.Result.Short(), agree, len(reported), short)
		case l.Failure != "":
			v.Reason = "the part's own failure, as agreed: " + l.Failure
		case paid == t.Replicas:
			v.Reason = "agrees, but the part's replicas are already paid"
		default:
			paid++
			v.Pass = true
			v.Pay, v.Reason = pay(t, l)
			if t.Replicas > 1 {
				v.Reason = fmt.Sprintf("%d of %d owners agree%s%s", agree, len(reported), short, v.Reason)
			} else {
				v.Reason = "accepted without verification, as the task asks" + v.Reason
			}
		}
		j.Verdicts = append(j.Verdicts, v)
	}
	return j
}

// shortOf says that fewer owners have reported than the task asks for: those who
// read the verdict shall not take less evidence for all of it.
func shortOf(t *lifecycle.Terms, reported int) string {
	if reported >= t.Replicas {
		return ""
	}
	return fmt.Sprintf("; %d were asked for, and no more could be had", t.Replicas)
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

func exhausted(t *lifecycle.Terms, p *lifecycle.Part, reported []*lifecycle.Lease) string {
	why := ""
	for i := range p.Leases {
		if l := &p.Leases[i]; l.Failure != "" {
			why = l.Failure
		} else if why == "" && l.State == lifecycle.Lost {
			why = l.Reason
		}
	}
	if t.Replicas > 1 && len(reported) >= t.Agree {
		why = fmt.Sprintf("no %d of %d owners agree", t.Agree, len(reported))
	}
	if why == "" {
		why = cmp.Or(p.Reason, "no node could be had") // what it waited for in vain
	}
	if p.Attempts() == 0 {
		return why
	}
	return fmt.Sprintf("%d attempts used up: %s", p.Attempts(), why)
}

// undecided rejects, without blame, what was reported for a part that failed.
func undecided(reported []*lifecycle.Lease) (vs []Verdict) {
	for _, l := range reported {
		reason := "not enough owners agree"
		if l.Failure != "" {
			reason = "run failed: " + l.Failure
		}
		vs = append(vs, Verdict{Lease: l.ID, Reason: reason})
	}
	return vs
}
