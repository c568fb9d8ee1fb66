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
	// Pipeline has several nodes hold the model's layers.
	Pipeline string `json:"pipeline,omitempty" doc:"auto: as many nodes as are fastest; or their number, from 2 on; absent: each node that answers holds the whole model" example:"auto"`
	Terms
}

// Service is a name under which the OpenAI API answers.
type Service struct {
	Name      string         `json:"name"`
	Owner     core.AccountID `json:"owner"`
	CreatedAt time.Time      `json:"created_at"`
	Line      *Line          `json:"line,omitempty" doc:"of a service with a pipeline: which nodes hold its model, and how it goes"`
	ServiceSpec
}

// Line is how a model is held by several nodes.
type Line struct {
	ID    string `json:"id,omitempty" doc:"changes when the line is planned anew"`
	State string `json:"state" doc:"planning, seating (nodes load their layers), ready, alone (one node does it best)"`
	// Why says why it is not ready, or how it was planned.
	Why       string        `json:"why,omitempty"`
	Stages    []LineStage   `json:"stages,omitempty" doc:"the first is the head, which answers"`
	Spares    []core.NodeID `json:"spares,omitempty" doc:"nodes that take the place of one that fails"`
	Left      []NotChosen   `json:"left,omitempty" doc:"nodes that have no place, with the reason"`
	Price     core.Money    `json:"price,omitempty" doc:"of a request, shared by the stages"`
	Planned   float64       `json:"planned_tokens_per_second,omitempty" doc:"of one answer, as the plan expects it"`
	PerSecond float64       `json:"tokens_per_second" doc:"drawn in the last second, all answers together"`
	Tokens    int64         `json:"tokens" doc:"drawn since the line was made"`
	RowBytes  int64         `json:"bytes_per_token,omitempty" doc:"that go between nodes for each token"`
	Replays   int           `json:"replays" doc:"stages that were lost and replaced, each with a replay of what it had"`
	Answering int           `json:"answering" doc:"answers under way"`
}

// LineStage is a node's place in a line.
type LineStage struct {
	Node   core.NodeID    `json:"node"`
	Owner  core.AccountID `json:"owner,omitempty"`
	Layers [2]int         `json:"layers" doc:"the first, and the one after the last"`
	With   []core.NodeID  `json:"with,omitempty" doc:"others who compute each of these layers together with it"`
	RTTMs  float64        `json:"rtt_ms,omitempty" doc:"to the next stage and back, from the last one to the head; absent until the nodes have measured it"`
	Mbit   float64        `json:"mbit_per_second,omitempty" doc:"what fits through the way there"`
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
