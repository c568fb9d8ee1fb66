package control

import (
	"encoding/json"
	"errors"
	"maps"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/receipt"
	"atoll/internal/rescore"
	"atoll/internal/shard/audit"
)

// Under logprobs a drawn result is tested by a reference: a lease of another owner's
// node, on another engine, with another model and input. See internal/rescore.

// work is what a lease has its node run, besides the input.
type work struct {
	engine   string
	model    core.Digest
	size     int64 // of the model
	params   map[string]string
	paramsID core.Digest
}

// workOf is the task's own work, or that of a reference.
func (t *task) workOf(l *lifecycle.Lease) work {
	if l.Audit {
		params := map[string]string{"mode": audit.Mode}
		return work{t.Engine, t.ModelDigest, t.ModelSize, params, paramsDigest(params)}
	}
	if t.Terms.Method == lifecycle.Logprobs && l.Checks != 0 {
		params := rescore.Params()
		return work{rescore.Engine, t.Reference, t.ReferenceSize, params, paramsDigest(params)}
	}
	return work{t.Engine, t.ModelDigest, t.ModelSize, t.params, t.paramsID}
}

// paramsDigest names params, as receipts do.
func paramsDigest(params map[string]string) core.Digest {
	canonical, _ := json.Marshal(params) // strings, with their keys sorted
	return core.DigestOf(canonical)
}

// request is what the next lease of a part asks of nodes.
func (t *task) request(p *part) *market.Request {
	if t.Terms.Method == lifecycle.Logprobs && p.Drawn() != nil {
		return &t.refReq
	}
	return &t.req
}

// readReference sets what a reference asks of nodes, once the task's own request is
// complete.
func (t *task) readReference() {
	t.refReq = t.req
	t.refReq.Engine, t.refReq.Model, t.refReq.ModelSize, t.refReq.Upstream = rescore.Engine, t.Reference, t.ReferenceSize, ""
	t.refReq.GPUs, t.refReq.GPUType, t.refReq.GPUMemory = 0, "", 0 // the engine has no use for any
}

// takeReference finds the model by which a task's answers are to be tested.
func (c *Control) takeReference(t *task, spec *api.TaskSpec, d core.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.models {
		if m.Digest == d && m.Engine == rescore.Engine {
			t.Reference, t.ReferenceSize = d, m.Size
			tellTokens(spec)
			return nil
		}
	}
	return core.Errorf(core.Invalid, "model %s has no reference by which its answers could be tested", t.Model).At("verification.method").
		WithHint("register it with one: atoll model register --upstream NAME --reference MODEL")
}

// tellTokens asks for the tokens of all answers that do not ask for them themselves:
// without them nothing can be tested.
func tellTokens(spec *api.TaskSpec) {
	if _, said := spec.Params["logprobs"]; said {
		return
	}
	params := map[string]json.RawMessage{"logprobs": json.RawMessage("0")}
	maps.Copy(params, spec.Params)
	spec.Params = params
}

// question makes what a reference is to read of a drawn result. A result that cannot be
// tested, though that was asked for, has failed its test.
func (c *Control) question(t *task, p *part, l *lifecycle.Lease, result core.Digest, x *checked) ([]byte, *lifecycle.Test) {
	input, claimed, err := c.claim(t, p, l.ID, result, x)
	var asking []byte
	if err == nil {
		asking, err = rescore.Question(engine.Input{Data: input, Params: t.params}, claimed, lot(t, l))
	}
	switch {
	case errors.Is(err, rescore.ErrClaim):
		return nil, &lifecycle.Test{Reason: core.Clip(err.Error(), maxVerdictReason/2)}
	case err != nil:
		return nil, &lifecycle.Test{Pass: true, Reason: "it could not be tested: " + core.Clip(err.Error(), maxVerdictReason/2)}
	}
	return asking, nil
}

// testedAtOnce notes a test for which no reference is needed.
func (x *checked) testedAtOnce(l core.LeaseID, t *lifecycle.Test) {
	if x.atOnce == nil {
		x.atOnce = map[core.LeaseID]*lifecycle.Test{}
	}
	x.atOnce[l] = t
}

// test finds out, outside the writer, what references have made of results.
func (c *Control) test(x *checked) {
	for i := range x.execution.Leases {
		e := &x.execution.Leases[i]
		c.mu.Lock()
		r := c.leases[e.Lease]
		if r == nil || r.node.doc.ID != x.node || !r.part.Tested(&r.task.Terms) || r.lease().Checks == 0 || e.Outcome != receipt.OK {
			c.mu.Unlock()
			continue
		}
		t, p := r.task, &part{Part: r.part.Part}
		tried := *r.part.Lease(r.lease().Checks)
		c.mu.Unlock()
		v, err := c.tested(t, p, &tried, e, x)
		if x.tests == nil {
			x.tests = map[core.LeaseID]tested{}
		}
		x.tests[e.Lease] = tested{v, err}
	}
}

// tested is what came of a test, or why its reference has said nothing.
type tested struct {
	verdict lifecycle.Test
	err     error
}

func (c *Control) tested(t *task, p *part, tried *lifecycle.Lease, e *receipt.ExecutedLease, x *checked) (v lifecycle.Test, err error) {
	input, err := c.openInput(t, p)
	if err != nil {
		return v, err
	}
	claimed, err := c.stored(t, p, tried.Result)
	if err != nil {
		return v, err
	}
	asking, err := c.stored(t, p, tried.Piece)
	if err != nil {
		return v, err
	}
	_, said, err := c.claim(t, p, e.Lease, e.Result, x)
	if err != nil {
		return v, err
	}
	if tried.Line != "" {
		return c.audited(t, p, tried, claimed, asking, said)
	}
	verdict, err := rescore.Judge(engine.Input{Data: input, Params: t.params}, claimed, asking, said)
	return lifecycle.Test{Pass: verdict.Pass, Reason: verdict.Reason}, err
}

// noteTest keeps the outcome of a test with the result that was tested. A reference
// that has not said what it was asked has failed itself.
func (r *leaseRef) noteTest(x *checked) {
	l := r.lease()
	v, ok := x.tests[l.ID]
	if !ok {
		return
	}
	if v.err != nil {
		l.Failure = core.Clip("no scores: "+v.err.Error(), 500)
		return
	}
	v.verdict.Reason = core.Clip(v.verdict.Reason, maxVerdictReason/2)
	if l.Audit { // several may be asked, who may differ
		l.Test = &v.verdict
		return
	}
	r.part.Lease(l.Checks).Test = &v.verdict
}
