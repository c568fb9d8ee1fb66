package simtest

import (
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/receipt"
	internaltlog "atoll/internal/tlog"
)

// judgeLog checks the transparency log with other software than the hub's: that
// every checkpoint ever published is one of this very log, and that each lease
// was reported at most once and judged at most once in it.
func (w *World) judgeLog(b *books) {
	hashes := newTree(b.leaves)
	signer, err := internaltlog.NewSigner(origin, w.hub.logs)
	if err != nil {
		w.violation("log key: %v", err)
		return
	}
	verifier, err := note.NewVerifier(signer.Key().VKey())
	if err != nil {
		w.violation("log key: %v", err)
		return
	}
	for _, head := range w.hub.watch.heads {
		n, err := note.Open(head.Note, note.VerifierList(verifier))
		if err != nil {
			w.violation("a published checkpoint is not signed by the log: %v", err)
			continue
		}
		tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + afterOrigin(n.Text)))
		if err != nil {
			w.violation("a published checkpoint cannot be read: %v", err)
			continue
		}
		if tree.N > int64(len(b.leaves)) {
			w.violation("%d leaves were published, and %d are stored", tree.N, len(b.leaves))
			continue
		}
		if root, err := tlog.TreeHash(tree.N, hashes); err != nil || root != tree.Hash {
			w.violation("the published checkpoint of %d leaves is not of this log: %v", tree.N, err)
		}
	}
	w.judgeStatements(b)
}

// afterOrigin cuts the first line off a checkpoint: size and root remain, which
// have the same form in every such log.
func afterOrigin(text string) string {
	for i := range len(text) {
		if text[i] == '\n' {
			return text[i+1:]
		}
	}
	return ""
}

// memoryTree keeps a log's hashes by their stored index.
type memoryTree []tlog.Hash

func newTree(leaves []leafRow) memoryTree {
	var t memoryTree
	for i, l := range leaves {
		add, err := tlog.StoredHashes(int64(i), l.body, t)
		if err != nil {
			panic("simtest: " + err.Error()) // only by reading past our own end
		}
		t = append(t, add...)
	}
	return t
}

// ReadHashes implements tlog.HashReader.
func (t memoryTree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if at >= int64(len(t)) {
			return nil, fmt.Errorf("no hash %d", at)
		}
		out[i] = t[at]
	}
	return out, nil
}

// judgeStatements reads what was signed, and holds the rows and the hub's
// acknowledgements against it.
func (w *World) judgeStatements(b *books) {
	reported, judged := map[core.LeaseID]int64{}, map[core.LeaseID]int64{}
	seen := map[string]int64{}
	for i, l := range b.leaves {
		at := int64(i)
		if other, twice := seen[string(l.body)]; twice {
			w.violation("leaf %d of the log is leaf %d again", at, other)
		}
		seen[string(l.body)] = at
		if v, err := receipt.ParseVerdict(l.envelope); err == nil {
			for _, j := range v.Leases {
				if other, twice := judged[j.Lease]; twice {
					w.violation("%s is judged by leaf %d and again by leaf %d", j.Lease, other, at)
				}
				judged[j.Lease] = at
			}
			continue
		}
		x, err := receipt.ParseExecution(l.envelope)
		if err != nil {
			w.violation("leaf %d is neither a receipt nor a verdict: %v", at, err)
			continue
		}
		for _, e := range x.Leases {
			if _, twice := reported[e.Lease]; !twice {
				reported[e.Lease] = at
			}
		}
	}
	for _, t := range b.tasks {
		for _, p := range t.parts {
			for i := range p.Leases {
				w.judgeEvidence(b, t, &p.Leases[i], reported, judged)
			}
		}
	}
}

// judgeEvidence looks for the signed statements behind the state of a lease.
func (w *World) judgeEvidence(b *books, t *taskRows, l *lifecycle.Lease, reported, judged map[core.LeaseID]int64) {
	at, isReported := reported[l.ID]
	verdict, isJudged := judged[l.ID]
	switch {
	case l.Leaf != 0 && (!isReported || at != l.Leaf-1):
		w.violation("%s has its receipt as leaf %d, and the log has it as %d (%t)", l.ID, l.Leaf-1, at, isReported)
	case l.VerdictLeaf != 0 && (!isJudged || verdict != l.VerdictLeaf-1):
		w.violation("%s has its verdict as leaf %d, and the log has it as %d (%t)", l.ID, l.VerdictLeaf-1, verdict, isJudged)
	case (l.State == lifecycle.Passed || l.State == lifecycle.Rejected) && l.VerdictLeaf == 0:
		w.violation("%s of %s is %s without a verdict in the log", l.ID, t.ID, l.State)
	case l.Pay > 0 && verdict >= b.published:
		w.violation("%s is paid by leaf %d, and only %d leaves are published", l.ID, verdict, b.published)
	}
	if by, said := w.hub.watch.acks[l.ID]; said && l.Leaf == 0 {
		w.violation("the hub told %s that the report of %s is stored, and it is not: the lease is %s", by, l.ID, l.State)
	}
}
