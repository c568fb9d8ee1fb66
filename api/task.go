package api

import (
	"encoding/json"
	"time"

	"atoll/internal/core"
)

// TaskSpec is the body of POST /v1/submit-task. Only Model and Input are
// required. DecodeTaskSpec reads one, Validate checks it and fills in nothing,
// WithDefaults fills in.
type TaskSpec struct {
	Model        string                     `json:"model" doc:"name@version, name (latest version), sha256:… or, together with engine, a data pointer" example:"triage@1"`
	Engine       string                     `json:"engine,omitempty" doc:"engine of a model given as a digest or data pointer" example:"wasm"`
	Input        []DataPointer              `json:"input" doc:"the data to work on; several pointers are joined in order"`
	Output       string                     `json:"output,omitempty" doc:"where results go; empty: kept by the hub"`
	Split        *Split                     `json:"split,omitempty"`
	Params       map[string]json.RawMessage `json:"params,omitempty" doc:"the engine's own parameters"`
	Resources    *Resources                 `json:"resources,omitempty"`
	Placement    *Placement                 `json:"placement,omitempty"`
	Residency    []string                   `json:"residency,omitempty" doc:"ISO 3166-1 countries or groups of them (EU, EEA, EU@2020) that leases may run in" example:"[\"EU\"]"`
	SLA          *SLA                       `json:"sla,omitempty"`
	Timeout      *Timeout                   `json:"timeout,omitempty"`
	Retry        *Retry                     `json:"retry,omitempty"`
	Disconnect   *Disconnect                `json:"disconnect,omitempty"`
	Verification *Verification              `json:"verification,omitempty"`
	Budget       *Budget                    `json:"budget,omitempty"`
	Pricing      string                     `json:"pricing,omitempty" doc:"posted (default); auction is not supported yet"`
	Callback     *Callback                  `json:"callback,omitempty"`
}

// DataPointer says where bytes are. A digest pins them.
type DataPointer struct {
	URI    string      `json:"uri" doc:"data:…;base64,…, blob:sha256:…, https://…; s3:// and dataset:// are not supported yet"`
	Digest core.Digest `json:"digest,omitzero" doc:"sha256:…; checked when the data is fetched"`
}

// Split cuts the input into parts.
type Split struct {
	Lines int `json:"lines" doc:"lines of each part (JSONL or text); blank ones do not count" example:"20"`
}

// Resources a lease needs, as Kubernetes quantities.
type Resources struct {
	CPU    string `json:"cpu,omitempty" example:"500m"`
	Memory string `json:"memory,omitempty" example:"512Mi"`
	GPU    *GPU   `json:"gpu,omitempty"`
}

// GPU requirements.
type GPU struct {
	Count  int    `json:"count"`
	Memory string `json:"memory,omitempty" doc:"of each" example:"16Gi"`
	Type   string `json:"type,omitempty" example:"h100"`
}

// Placement restricts the nodes a task may use.
type Placement struct {
	Regions  []string `json:"regions,omitempty" example:"[\"eu-west\"]"`
	Selector string   `json:"selector,omitempty" doc:"label selector in Kubernetes syntax" example:"tier in (gold)"`
	Spread   string   `json:"spread,omitempty" doc:"owner: no two leases of a part with one owner (always so under quorum)"`
	Line     string   `json:"line,omitempty" doc:"name of a service whose model several nodes hold: they are to compute it"`
	TEE      []string `json:"tee,omitempty" doc:"not supported yet"`
}

// SLA is timed by the hub from dispatch to durable report.
type SLA struct {
	Latency        Duration   `json:"latency,omitzero" doc:"of each lease" example:"2s"`
	Deadline       *time.Time `json:"deadline,omitempty" doc:"of the whole task"`
	MinReliability float64    `json:"min_reliability,omitzero" doc:"0 to 1; nodes below are not used" example:"0.98"`
	Penalty        string     `json:"penalty,omitempty" doc:"share of the price a lease loses when later than latency" example:"20%"`
}

// Timeout bounds the phases of a task.
type Timeout struct {
	Queue     Duration `json:"queue,omitzero" doc:"longest wait of a part for a node; default 1m"`
	Execution Duration `json:"execution,omitzero" doc:"of each lease from start to report; default 30s"`
	Total     Duration `json:"total,omitzero" doc:"of the whole task; default 5m, or queue + execution if that is longer"`
}

// Retry bounds the leases of a part.
type Retry struct {
	MaxAttempts int `json:"max_attempts" doc:"1 to 10 for each replica; default 3"`
}

// Disconnect says what happens to leases of a node that has gone silent.
type Disconnect struct {
	LostAfter Duration `json:"lost_after,omitzero" doc:"silence after which a lease is lost; default 2.5s, at least 1s"`
	Replace   *bool    `json:"replace,omitempty" doc:"true (default): the part goes elsewhere and a late result is not paid; false: wait for the node, and pay its late result"`
}

// Verification is what must hold before a result counts and is paid.
type Verification struct {
	Method   string   `json:"method" doc:"none (default), quorum, or reexecute: a sample, drawn by a lot that anybody can cast again, is run again by another owner and compared bit for bit; or logprobs, for models of providers' own servers: a sample is read by another owner's reference, and tested; spot-check and tee are not supported yet"`
	Replicas int      `json:"replicas,omitempty" doc:"quorum: leases of each part, each with another owner; default 3"`
	Agree    int      `json:"agree,omitempty" doc:"quorum: how many equal results are needed, more than half; default a majority"`
	Rate     float64  `json:"rate,omitempty" doc:"reexecute, logprobs: share of the results that is looked at again, in millionths at the finest, 1 for all; default 0.1" example:"0.1"`
	Span     int      `json:"span,omitempty" doc:"reexecute with language models (engine llm): draw only so many tokens of each answer again, and read the rest; default 0, the whole" example:"32"`
	Nonce    string   `json:"nonce,omitempty" doc:"reexecute, logprobs: a word of yours that goes into the lot, so that nobody can have foreseen it before you submitted; up to 64 letters, digits, - and _"`
	Window   Duration `json:"window,omitzero" doc:"not supported yet"`
	Value    string   `json:"value,omitempty" doc:"not supported yet"`
}

// Budget is held once, at submit.
type Budget struct {
	MaxCost core.Money `json:"max_cost" doc:"credits, a decimal string" example:"2.50"`
}

// Callback gets a signed CloudEvent when the task ends.
type Callback struct {
	URL string `json:"url"`
}

// Task is a task as the API shows it.
type Task struct {
	ID          core.TaskID    `json:"id"`
	Account     core.AccountID `json:"account"`
	State       string         `json:"state" enum:"queued,placing,running,verifying,succeeded,failed,cancelled,expired"`
	Reason      string         `json:"reason" doc:"why it is in this state, for people"`
	Model       string         `json:"model" doc:"as resolved at submit"`
	ModelDigest core.Digest    `json:"model_digest"`
	CreatedAt   time.Time      `json:"created_at"`
	EndedAt     *time.Time     `json:"ended_at,omitempty"`
	Parts       PartCounts     `json:"parts"`
	Cost        Cost           `json:"cost"`
	NotChosen   []NotChosen    `json:"not_chosen,omitempty" doc:"why nodes were not used, as of the last placement"`
	TraceID     string         `json:"trace_id,omitempty"`
	Spec        *TaskSpec      `json:"spec,omitempty"`
}

// Ended reports whether the task is in a terminal state.
func (t *Task) Ended() bool {
	switch t.State {
	case "succeeded", "failed", "cancelled", "expired":
		return true
	}
	return false
}

// PartCounts counts a task's parts by what happens to them.
type PartCounts struct {
	Total     int `json:"total"`
	Waiting   int `json:"waiting"`
	Running   int `json:"running"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	Short     int `json:"short,omitempty" doc:"of the succeeded ones: decided by fewer owners than asked for, because no more could be had; each part's reason says more"`
	Moved     int `json:"moved" doc:"leases lost and replaced so far"`
}

// Cost of a task: max = paid + pending + refunded + what may still be drawn.
type Cost struct {
	Max      core.Money `json:"max"`
	Paid     core.Money `json:"paid"`
	Pending  core.Money `json:"pending" doc:"verified, waiting for the log's checkpoint"`
	Refunded core.Money `json:"refunded"`
}

// NotChosen says why a node was not used.
type NotChosen struct {
	Node   core.NodeID    `json:"node"`
	Owner  core.AccountID `json:"owner"`
	Reason string         `json:"reason"`
}

// Part is one piece of a task's input.
type Part struct {
	Index        int         `json:"index"`
	State        string      `json:"state" enum:"waiting,running,succeeded,failed,cancelled"`
	Reason       string      `json:"reason,omitempty"`
	Leases       int         `json:"leases"`
	InputDigest  core.Digest `json:"input_digest"`
	InputSize    int64       `json:"input_size"`
	ResultDigest core.Digest `json:"result_digest,omitzero"`
}

// Lease is one node's promise to do one part. Results and verdicts are shown
// only once all replicas of the part have reported or expired.
type Lease struct {
	ID           core.LeaseID   `json:"id"`
	Task         core.TaskID    `json:"task"`
	Part         int            `json:"part"`
	Attempt      int            `json:"attempt"`
	Node         core.NodeID    `json:"node"`
	Owner        core.AccountID `json:"owner"`
	State        string         `json:"state" enum:"offered,accepted,running,reported,passed,rejected,lost,refused,cancelled"`
	Reason       string         `json:"reason,omitempty"`
	Price        core.Money     `json:"price"`
	Pay          core.Money     `json:"pay" doc:"what the verdict grants"`
	OfferedAt    time.Time      `json:"offered_at"`
	ReportedAt   *time.Time     `json:"reported_at,omitempty"`
	ResultDigest core.Digest    `json:"result_digest,omitzero"`
	Receipt      string         `json:"receipt,omitempty" doc:"path of its receipt bundle"`
}

// Event is one state change. IDs of one task are dense and start at 1.
type Event struct {
	ID      int64        `json:"id"`
	Time    time.Time    `json:"time"`
	Type    string       `json:"type" doc:"task.placing, lease.lost, part.succeeded, …"`
	Part    *int         `json:"part,omitempty"`
	Lease   core.LeaseID `json:"lease,omitzero"`
	Node    core.NodeID  `json:"node,omitempty"`
	Message string       `json:"message"`
}

// SubmitReply answers POST /v1/submit-task.
type SubmitReply struct {
	Task
	Duplicate bool `json:"duplicate,omitempty" doc:"true when the Idempotency-Key was seen before"`
}

// ReceiptRef lists one receipt of a task.
type ReceiptRef struct {
	Lease        core.LeaseID `json:"lease"`
	Part         int          `json:"part"`
	Node         core.NodeID  `json:"node"`
	State        string       `json:"state"`
	Bundle       string       `json:"bundle" doc:"path of the node's receipt as a Sigstore bundle"`
	Verdict      string       `json:"verdict,omitempty" doc:"path of the hub's verdict as a Sigstore bundle"`
	LogIndex     int64        `json:"log_index"`
	ResultDigest core.Digest  `json:"result_digest"`
}
