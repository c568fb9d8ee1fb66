package simtest

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/shard/audit"
)

// judgeLine looks at a part that several nodes have computed together.
func (w *World) judgeLine(j *job, t *taskRows, p *lifecycle.Part, b *books) {
	for i := range p.Leases {
		l := &p.Leases[i]
		if l.Checks != 0 || l.Accounts.IsZero() {
			continue
		}
		did := w.performed[l.ID]
		if did == nil {
			w.violation("%s has accounts of what nobody has computed", l.ID)
			continue
		}
		w.result.Together++
		if l.State == lifecycle.Rejected && l.Failure == "" {
			w.result.Caught++
		}
		w.judgeShares(l, did)
		w.judgeAudits(t, p, l, did, b)
	}
	if p.State != lifecycle.PartSucceeded {
		return
	}
	honest := true
	for _, n := range w.nodes {
		honest = honest && n.faults.Lie == 0
	}
	if honest && p.Result != core.DigestOf(lineTruth([]byte(j.parts[p.Index]))) {
		w.violation("%s part %d: nobody lies, and the result is false", t.ID, p.Index)
	}
}

// judgeShares: pay is divided among those who have computed, by layers and positions at
// their prices, and nobody else.
func (w *World) judgeShares(l *lifecycle.Lease, did *performed) {
	want := map[core.NodeID]int64{}
	for _, a := range did.answers {
		for _, s := range a.stages {
			want[s.node.id] += int64(s.layers*s.computed) * int64(l.Asked(s.node.id))
		}
	}
	for _, h := range l.Crew {
		if price := w.byID[string(h.Node)].offer.Price; h.Price != price {
			w.violation("%s: %s is taken to ask for %s, and asks for %s", l.ID, h.Node, h.Price, price)
		}
	}
	got := map[core.NodeID]int64{l.Node: l.Work}
	for _, s := range l.Shares {
		got[s.Node] += s.Work
		if n := w.byID[string(s.Node)]; n == nil || n.owner != s.Owner {
			w.violation("%s has a share of %s of %s, which is not so", l.ID, s.Node, s.Owner)
		}
	}
	for id, work := range got {
		if work != want[id] {
			w.violation("%s: %s is counted for %d, and has done %d", l.ID, id, work, want[id])
		}
		delete(want, id)
	}
	for id := range want {
		w.violation("%s: %s has computed, and has no share", l.ID, id)
	}
	all := core.Money(0)
	for _, x := range l.Payments() {
		if all += x.Amount; x.Amount < 0 {
			w.violation("%s pays %s to %s", l.ID, x.Amount, x.Node)
		}
	}
	if all != l.Pay || l.Pay > l.Price {
		w.violation("%s: of %s, at a price of %s, %s are paid", l.ID, l.Pay, l.Price, all)
	}
}

// judgeAudits: an honest auditor finds what there is to find, and nothing else; one
// liar alone has nobody blamed.
func (w *World) judgeAudits(t *taskRows, p *lifecycle.Part, l *lifecycle.Lease, did *performed, b *books) {
	asked, ok := b.results[resultKey(t.ID, p.Index, l.Piece)]
	if !ok {
		return
	}
	var q audit.Question
	if err := json.Unmarshal(asked, &q); err != nil {
		w.violation("%s: the question about it: %v", l.ID, err)
		return
	}
	guilty := w.guilty(&q, did, b.results[resultKey(t.ID, p.Index, l.Result)])
	honest, accusers := false, 0
	for i := range p.Leases {
		c := &p.Leases[i]
		if c.Checks != l.ID || c.Test == nil {
			continue
		}
		if !c.Test.Pass {
			accusers++
		}
		if w.byID[string(c.Node)].faults.Lie > 0 || strings.Contains(c.Test.Reason, "could not") {
			continue
		}
		honest = true
		if c.Test.Blame != guilty {
			w.violation("%s: %s has audited %s and blames %q, though it should %q: %s", l.ID, c.Node, what(&q), c.Test.Blame, guilty, c.Test.Reason)
		}
		if !c.Test.Pass && l.State == lifecycle.Passed && accusers > 1 {
			w.violation("%s has passed, though two auditors have found it wrong", l.ID)
		}
	}
	if honest && guilty == "" && l.State == lifecycle.Rejected && l.Failure == "" {
		w.violation("%s is rejected, though it is right and an honest node has said so: %s", l.ID, l.Reason)
	}
}

func what(q *audit.Question) string { return string(q.Line) }

// guilty is who an honest auditor must find wrong; "" if nobody.
func (w *World) guilty(q *audit.Question, did *performed, result []byte) core.NodeID {
	stages := did.answers[q.Answer].stages
	line := bytes.SplitAfter(result, []byte("\n"))[q.Answer]
	told, err := audit.Told(line)
	should, _ := audit.Told(written(q.Line, q.Tokens))
	head := did.head
	switch {
	case err != nil || told != should:
		return head.id
	case len(stages) > 0 && stages[q.Stage].wrong:
		return stages[q.Stage].node.id
	}
	return ""
}
