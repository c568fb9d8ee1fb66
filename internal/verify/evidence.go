package verify

import (
	"cmp"
	"fmt"

	"atoll/internal/lifecycle"
)

// evidence is a part's leases as the judge sees them.
type evidence struct {
	terms *lifecycle.Terms
	part  *lifecycle.Part
	// replicas is how many results are wanted, agree how many must be equal, most
	// how many owners may be asked, and paid, before it is given up.
	replicas, agree, most int

	reported []*lifecycle.Lease // results, and failures that count as such
	live     int                // leases that may still deliver
	lone     []Verdict          // of failures that count for nothing
}

func gather(t *lifecycle.Terms, p *lifecycle.Part) *evidence {
	e := &evidence{terms: t, part: p, replicas: t.Replicas, agree: t.Agree, most: t.Replicas}
	if p.Drawn() != nil {
		e.replicas, e.agree, e.most = 2, 2, t.Payable()
	}
	for i := range p.Leases {
		l := &p.Leases[i]
		switch {
		case l.State == lifecycle.Reported && l.Failure != "" && e.replicas == 1:
			// A lone failure is no evidence of anything: rejected, and tried again.
			e.lone = append(e.lone, Verdict{Lease: l.ID, Reason: "run failed: " + l.Failure})
		case l.State == lifecycle.Reported:
			e.reported = append(e.reported, l)
		case l.Live():
			e.live++
		}
	}
	return e
}

// unchecked reports whether there is nothing but the drawn result itself.
func (e *evidence) unchecked() bool { return len(e.reported) == 1 && e.reported[0].Drawn }

func same(a, b *lifecycle.Lease) bool {
	return a.Result == b.Result && (a.Failure == "") == (b.Failure == "")
}

// contradicts reports whether a lease ran a piece of another's claim and came to
// something else, which says nothing but that the claim is wrong.
func (e *evidence) contradicts(l *lifecycle.Lease) bool {
	return l.Partial && !same(l, e.part.Lease(l.Checks))
}

// count is how many reported the same as l.
func (e *evidence) count(l *lifecycle.Lease) (n int) {
	for _, r := range e.reported {
		if same(r, l) && !e.contradicts(r) {
			n++
		}
	}
	return n
}

// largest is the size of the largest group that agrees.
func (e *evidence) largest() (n int) {
	for _, l := range e.reported {
		n = max(n, e.count(l))
	}
	return n
}

// right reports whether a lease speaks for win's result: it reported the same, or
// contradicted a claim that is wrong.
func (e *evidence) right(l, win *lifecycle.Lease) bool {
	if e.contradicts(l) {
		return !same(e.part.Lease(l.Checks), win)
	}
	return same(l, win)
}

// agreed returns a lease of the group that has enough equal results, or nil.
// Validation keeps Agree over half of Replicas; after inconclusive rounds two
// groups could still both reach it, and then nothing is agreed.
func (e *evidence) agreed() *lifecycle.Lease {
	var win *lifecycle.Lease
	for _, l := range e.reported {
		if e.count(l) < e.agree {
			continue
		}
		if win != nil && !same(win, l) {
			return nil
		}
		win = l
	}
	return win
}

// tally says how many agree with l.
func (e *evidence) tally(l *lifecycle.Lease) string {
	return fmt.Sprintf("%d of %d owners agree%s", e.count(l), len(e.reported), e.shortfall())
}

// shortfall says that fewer owners have reported than the task asks for: those
// who read the verdict shall not take less evidence for all of it.
func (e *evidence) shortfall() string {
	switch {
	case len(e.reported) >= e.replicas:
		return ""
	case e.unchecked():
		return "; it was drawn to be run again, but no other owner could be had"
	}
	return fmt.Sprintf("; %d were asked for, and no more could be had", e.replicas)
}

// note is what a reader of the result must know.
func (e *evidence) note(win *lifecycle.Lease) string {
	if e.shortfall() == "" {
		return ""
	}
	return e.tally(win)
}

// ownFault says that the part itself is at fault, as enough owners report.
func (e *evidence) ownFault(win *lifecycle.Lease) string {
	return fmt.Sprintf("%d of %d owners report: %s%s", e.count(win), len(e.reported), win.Failure, e.shortfall())
}

// exhausted says why a part ends without a result.
func (e *evidence) exhausted() string {
	why := ""
	for i := range e.part.Leases {
		if l := &e.part.Leases[i]; l.Failure != "" {
			why = l.Failure
		} else if why == "" && l.State == lifecycle.Lost {
			why = l.Reason
		}
	}
	if e.replicas > 1 && len(e.reported) >= e.agree {
		why = fmt.Sprintf("no %d of %d owners agree", e.agree, len(e.reported))
	}
	why = cmp.Or(why, e.part.Reason, "no node could be had") // what it waited for in vain
	if e.part.Attempts() == 0 {
		return why
	}
	return fmt.Sprintf("%d attempts used up: %s", e.part.Attempts(), why)
}
