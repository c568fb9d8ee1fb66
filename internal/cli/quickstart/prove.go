package quickstart

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/policy"
	"atoll/internal/receipt"
	"atoll/internal/tlog"
)

// proofs are a task's files: what a stranger would be handed.
type proofs struct {
	task    core.TaskID
	logs    []tlog.Key
	results map[int][]byte // by part
	// sample is a receipt whose result bytes are at hand.
	sample api.ReceiptRef
	bundle []byte
}

// gather downloads what checking a task's receipts takes.
func (r *rehearsal) gather(ctx context.Context, task core.TaskID) (*proofs, []api.ReceiptRef, error) {
	root, err := r.user.TrustedRoot(ctx)
	if err != nil {
		return nil, nil, err
	}
	p := proofs{task: task, results: map[int][]byte{}}
	if p.logs, err = receipt.ParseTrustedRoot(root); err != nil {
		return nil, nil, fmt.Errorf("the hub's trusted root: %w", err)
	}
	refs, err := client.Collect(r.user.Receipts(ctx, task))
	return &p, refs, err
}

// prove checks every receipt and verdict without the hub; then it changes a copy.
func (r *rehearsal) prove(ctx context.Context) error {
	p, refs, err := r.gather(ctx, r.task.ID)
	if err != nil {
		return err
	}
	residents, err := policy.Parse(residency)
	if err != nil {
		return err
	}
	var wrong, abroad []error
	for _, n := range r.out.Nodes {
		if n.used() && !residents.Allows(n.Country) {
			abroad = append(abroad, fmt.Errorf("%s is in %s", n.Node, n.Country))
		}
	}
	for _, ref := range refs {
		e, err := r.proveOne(ctx, p, ref)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", ref.Lease, err))
			continue
		}
		for _, l := range e.Leases {
			if l.Task == r.task.ID && !residents.Allows(l.RegionDeclared) {
				abroad = append(abroad, fmt.Errorf("%s ran in %s", l.Lease, l.RegionDeclared))
			}
		}
	}
	if r.out.Receipts = len(refs); r.out.Receipts == 0 {
		wrong = append(wrong, errors.New("there are none"))
	}
	r.check("residency_held", len(abroad) == 0, "no lease left the EU", listed(abroad))
	r.check("receipts_verify", len(wrong) == 0, fmt.Sprintf("%d/%d receipts verify offline", r.out.Verified, r.out.Receipts), listed(wrong))
	r.tamper(p)
	return nil
}

func listed(errs []error) string {
	const most = 5
	if err := errors.Join(errs[:min(len(errs), most)]...); err != nil {
		return err.Error()
	}
	return ""
}

// proveExecution checks one lease's receipt.
func (r *rehearsal) proveExecution(ctx context.Context, p *proofs, ref api.ReceiptRef) (*receipt.Execution, error) {
	bundle, err := r.user.Receipt(ctx, ref.Lease)
	if err != nil {
		return nil, err
	}
	key, err := receipt.ParseKey([]byte(r.keys[ref.Node]))
	if err != nil {
		return nil, err
	}
	want := receipt.Want{Logs: p.logs, Key: key, Type: receipt.ExecutionType, Lease: ref.Lease, Task: p.task, Result: ref.ResultDigest}
	if ref.State == "passed" { // the result is at hand: its bytes count, not what the hub says
		data, err := r.partResult(ctx, p, ref.Part)
		if err != nil {
			return nil, err
		}
		want.Result = core.DigestOf(data)
	}
	report, err := receipt.Check(bundle, want)
	if err != nil {
		return nil, err
	}
	if p.bundle == nil && ref.State == "passed" {
		p.sample, p.bundle = ref, bundle
	}
	return report.Execution, nil
}

// proveOne checks one lease's receipt, and its verdict if it has one.
func (r *rehearsal) proveOne(ctx context.Context, p *proofs, ref api.ReceiptRef) (*receipt.Execution, error) {
	execution, err := r.proveExecution(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	r.out.Verified++
	if ref.Verdict == "" {
		return execution, nil
	}
	verdict, err := r.user.Verdict(ctx, ref.Lease)
	if err != nil {
		return nil, err
	}
	r.out.Verdicts++
	if _, err := receipt.Check(verdict, receipt.Want{Logs: p.logs, Type: receipt.VerdictType, Lease: ref.Lease, Task: p.task, Result: ref.ResultDigest}); err != nil {
		return nil, fmt.Errorf("verdict: %w", err)
	}
	r.out.Judged++
	return execution, nil
}

func (r *rehearsal) partResult(ctx context.Context, p *proofs, part int) ([]byte, error) {
	if data, ok := p.results[part]; ok {
		return data, nil
	}
	data, err := r.user.PartResult(ctx, p.task, part)
	if err == nil {
		p.results[part] = data
	}
	return data, err
}

// tamper changes one bit of a result and shows its receipt beside it.
func (r *rehearsal) tamper(p *proofs) {
	if p.bundle == nil {
		r.check("tampered_refused", false, "tampered copy refused", "there is no receipt to try it on")
		return
	}
	copied := slices.Clone(p.results[p.sample.Part])
	copied[len(copied)/2] ^= 1
	_, err := receipt.Check(p.bundle, receipt.Want{Logs: p.logs, Lease: p.sample.Lease, Result: core.DigestOf(copied)})
	if errors.Is(err, receipt.ErrSubject) {
		r.out.Tampered = receipt.ErrSubject.Error()
		r.check("tampered_refused", true, "tampered copy refused: "+r.out.Tampered, "")
		return
	}
	r.check("tampered_refused", false, "tampered copy refused", fmt.Sprintf("it was answered with: %v", err))
}
