package api

import (
	"encoding/json"
	"maps"
	"time"

	"atoll/internal/core"
)

// Terms are the fields of a TaskSpec that say how a task is to be done, not what.
type Terms struct {
	Params       map[string]json.RawMessage `json:"params,omitempty" doc:"the engine's own parameters"`
	Resources    *Resources                 `json:"resources,omitempty"`
	Placement    *Placement                 `json:"placement,omitempty"`
	Residency    []string                   `json:"residency,omitempty" doc:"ISO 3166-1 countries or groups of them"`
	SLA          *SLA                       `json:"sla,omitempty"`
	Timeout      *Timeout                   `json:"timeout,omitempty"`
	Retry        *Retry                     `json:"retry,omitempty"`
	Disconnect   *Disconnect                `json:"disconnect,omitempty"`
	Verification *Verification              `json:"verification,omitempty"`
	Budget       *Budget                    `json:"budget,omitempty"`
	Callback     *Callback                  `json:"callback,omitempty"`
}

// Or returns the terms with what they do not say taken from d; params are taken
// one by one.
func (t Terms) Or(d Terms) Terms {
	params := maps.Clone(d.Params)
	if params == nil {
		params = map[string]json.RawMessage{}
	}
	maps.Copy(params, t.Params)
	if t.Params = params; len(params) == 0 {
		t.Params = nil
	}
	setDefault(&t.Resources, d.Resources)
	setDefault(&t.Placement, d.Placement)
	if t.Residency == nil {
		t.Residency = d.Residency
	}
	setDefault(&t.SLA, d.SLA)
	setDefault(&t.Timeout, d.Timeout)
	setDefault(&t.Retry, d.Retry)
	setDefault(&t.Disconnect, d.Disconnect)
	setDefault(&t.Verification, d.Verification)
	setDefault(&t.Budget, d.Budget)
	setDefault(&t.Callback, d.Callback)
	return t
}

// Terms returns the terms of a task.
func (s *TaskSpec) Terms() Terms {
	return Terms{
		Params: s.Params, Resources: s.Resources, Placement: s.Placement, Residency: s.Residency, SLA: s.SLA, Timeout: s.Timeout, Retry: s.Retry,
		Disconnect: s.Disconnect, Verification: s.Verification, Budget: s.Budget, Callback: s.Callback,
	}
}

// Spec returns a task with these terms.
func (t Terms) Spec(model string, input ...DataPointer) *TaskSpec {
	return &TaskSpec{
		Model: model, Input: input, Params: t.Params, Resources: t.Resources, Placement: t.Placement, Residency: t.Residency, SLA: t.SLA, Timeout: t.Timeout,
		Retry: t.Retry, Disconnect: t.Disconnect, Verification: t.Verification, Budget: t.Budget, Callback: t.Callback,
	}
}

// ServiceSpec is the body of PUT /v1/services/{name}: a model, and how requests to
// it are to be done that do not say so themselves.
type ServiceSpec struct {
	Model string `json:"model" doc:"name@version, or name for the latest there is now" example:"tiny@1"`
	Terms
}

// Service is a name under which the OpenAI API answers.
type Service struct {
	Name      string         `json:"name"`
	Owner     core.AccountID `json:"owner"`
	CreatedAt time.Time      `json:"created_at"`
	ServiceSpec
}

// Validate checks the terms as those of a task. Others ask a service and pay, so
// it has no callback, which would tell its owner of their tasks, no nonce, which is
// the requester's own word, and may lower what a request costs at most, not raise
// it.
func (s *ServiceSpec) Validate() error {
	const own = "each request may bring its own, in \"atoll\""
	switch {
	case s.Callback != nil:
		return invalid("callback", "a service has none").WithHint(own)
	case s.Verification != nil && s.Verification.Nonce != "":
		return invalid("verification.nonce", "a service has none").WithHint(own)
	case s.Budget != nil && s.Budget.MaxCost > defaultMaxCost:
		return invalid("budget.max_cost", "a service may lower what a request costs at most, not raise it over %s: who asks pays", defaultMaxCost).WithHint(own)
	}
	return s.Spec(s.Model, DataPointer{URI: "data:,"}).Validate()
}
