package control

import (
	"bytes"
	"encoding/json"
	"errors"

	"k8s.io/apimachinery/pkg/api/resource"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/policy"
)

// readTerms turns the validated specification into terms and a market request.
func (t *task) readTerms(spec *api.TaskSpec) error {
	res, err := policy.Parse(spec.Residency)
	if err != nil {
		return at(err, "residency")
	}
	t.Residency = res.Resolved()
	t.req = market.Request{Account: t.Account, Engine: t.Engine, Model: t.ModelDigest, ModelSize: t.ModelSize, Upstream: t.Upstream, Residency: res}
	t.Terms = lifecycle.Terms{
		QueueMs: spec.Timeout.Queue.Std().Milliseconds(), ExecutionMs: spec.Timeout.Execution.Std().Milliseconds(), TotalMs: spec.Timeout.Total.Std().Milliseconds(),
		MaxAttempts: spec.Retry.MaxAttempts, LostAfterMs: spec.Disconnect.LostAfter.Std().Milliseconds(), Replace: *spec.Disconnect.Replace,
		Method: lifecycle.Method(spec.Verification.Method), Replicas: spec.Verification.Replicas, Agree: spec.Verification.Agree, MaxCost: spec.Budget.MaxCost,
		Rate: spec.Verification.RatePPM(), Span: spec.Verification.Span, Nonce: spec.Verification.Nonce,
	}
	t.req.Distinct, t.req.Trusting = t.Terms.Compared(), t.Terms.Method != lifecycle.Quorum
	if sla := spec.SLA; sla != nil {
		t.Terms.LatencyMs = sla.Latency.Std().Milliseconds()
		if sla.Deadline != nil {
			t.Terms.DeadlineMs = sla.Deadline.UnixMilli()
		}
		if t.Terms.PenaltyPerMille, err = sla.PenaltyPerMille(); err != nil {
			return at(err, "sla.penalty")
		}
		t.req.MinReliability = sla.MinReliability
	}
	if spec.Callback != nil {
		t.callback = spec.Callback.URL
	}
	if pl := spec.Placement; pl != nil {
		t.req.Regions = pl.Regions
		t.req.Distinct = t.req.Distinct || pl.Spread == "owner"
		t.service, t.Terms.Staged = pl.Line, pl.Line != ""
		if t.req.Selector, err = policy.ParseSelector(pl.Selector); err != nil {
			return at(err, "placement.selector")
		}
	}
	if err := t.readResources(spec.Resources); err != nil {
		return err
	}
	t.readReference()
	return t.readParams(spec.Params)
}

func (t *task) readResources(r *api.Resources) error {
	if r == nil {
		return nil
	}
	quantity := func(s, field string, milli bool) (int64, error) {
		if s == "" {
			return 0, nil
		}
		q, err := resource.ParseQuantity(s)
		if err != nil || q.Sign() < 0 {
			return 0, core.Errorf(core.Invalid, "%q is not a quantity such as 500m or 512Mi", s).At(field)
		}
		if milli {
			return q.MilliValue(), nil
		}
		return q.Value(), nil
	}
	var err1, err2, err3 error
	t.req.CPUMillis, err1 = quantity(r.CPU, "resources.cpu", true)
	t.req.Memory, err2 = quantity(r.Memory, "resources.memory", false)
	if g := r.GPU; g != nil {
		t.req.GPUs, t.req.GPUType = g.Count, g.Type
		t.req.GPUMemory, err3 = quantity(g.Memory, "resources.gpu.memory", false)
	}
	return errors.Join(err1, err2, err3)
}

// readParams turns JSON parameters into the strings that engines take: a JSON
// string becomes its content, anything else its compact JSON.
func (t *task) readParams(params map[string]json.RawMessage) error {
	if len(params) == 0 {
		t.paramsID = core.DigestOf([]byte("{}"))
		return nil
	}
	t.params = make(map[string]string, len(params))
	size := 0
	for k, raw := range params {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			var buf bytes.Buffer
			if err := json.Compact(&buf, raw); err != nil {
				return core.Errorf(core.Invalid, "not JSON").At("params." + k)
			}
			s = buf.String()
		}
		t.params[k] = s
		size += len(k) + len(s)
	}
	if size > maxParamBytes {
		return core.Errorf(core.TooLarge, "parameters take %d bytes, at most %d", size, maxParamBytes).At("params")
	}
	canonical, err := json.Marshal(t.params) // sorted keys
	t.paramsID = core.DigestOf(canonical)
	return err
}
