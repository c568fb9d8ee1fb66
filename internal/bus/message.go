package bus

import (
	"encoding/json"
	"maps"
	"slices"

	fastjson "github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/peer"
	"atoll/internal/peer/probe"
	"atoll/internal/shard/charter"
)

// Kinds of message. Hub to node: KindLease, KindAck, KindCancel, KindKeep, KindLine (a
// sealed charter.Charter), KindProbe. Node to hub: KindHeartbeat, KindStatus, KindReport, KindProgress. Every message may be lost,
// doubled or late: receivers compare it with what they have stored, keyed by lease
// ID.
const (
	KindLease     = "lease"
	KindAck       = "ack"
	KindCancel    = "cancel"
	KindKeep      = "keep"
	KindLine      = "line"
	KindProbe     = "probe"
	KindHeartbeat = "heartbeat"
	KindStatus    = "status"
	KindReport    = "report"
	KindProgress  = "progress"
)

// Decode reads a message. It is stricter than the standard library, a member
// twice or text that is not UTF-8 is refused, and takes half its time.
func Decode(data []byte, message any) error { return fastjson.Unmarshal(data, message) }

// LeasePayloadType is the DSSE payload type under which a hub seals a LeaseBatch.
const LeasePayloadType = "application/vnd.atoll.lease+json"

// InlineLimit is the largest input or result, in bytes, that travels inside a
// message. Larger ones go over HTTP.
const InlineLimit = 128 << 10

// LeaseBatch is what the hub seals and sends as KindLease: one signature for
// all leases that go to one node at one time.
type LeaseBatch struct {
	Hub  string      `json:"hub"` // the sealing hub's ID
	Node core.NodeID `json:"node"`
	// Boot is the life of the node, as its heartbeats name it, that is meant: a
	// later one has forgotten what the earlier one has done.
	Boot     string  `json:"boot"`
	IssuedMs int64   `json:"issued_ms"`
	Leases   []Lease `json:"leases"`
}

// Lease is one offer: do this part, for this price, before this moment.
type Lease struct {
	ID          core.LeaseID      `json:"id"`
	Task        core.TaskID       `json:"task"`
	Part        int               `json:"part"`
	Attempt     int               `json:"attempt"` // 1 of all that may be checks, lest one be known
	Account     core.AccountID    `json:"account"` // the requester: tenant of the sandbox
	Engine      string            `json:"engine"`
	Model       core.Digest       `json:"model"`
	ModelSize   int64             `json:"model_size"`
	Input       core.Digest       `json:"input"`
	InputSize   int64             `json:"input_size"`
	Data        []byte            `json:"data,omitempty"` // the input itself if InputSize ≤ InlineLimit
	Params      map[string]string `json:"params,omitempty"`
	ParamsHash  core.Digest       `json:"params_digest"`
	Nonce       string            `json:"nonce"`
	Commit      core.Digest       `json:"commit,omitzero"` // to the secret of the draw, see package draw
	Price       core.Money        `json:"price"`
	CPUMillis   int64             `json:"cpu_millis,omitempty"` // requested cores, thousandths
	Memory      int64             `json:"memory,omitempty"`     // limit in bytes; 0: the node's default
	ExecutionMs int64             `json:"execution_ms"`         // limit from start to report
	ExpiresMs   int64             `json:"expires_ms"`           // not to be started after this, hub time
	// A report later than LatencyMs after the offer costs PenaltyPerMille of the
	// price; 0: nothing. A node that minds declines.
	LatencyMs       int64 `json:"latency_ms,omitempty"`
	PenaltyPerMille int   `json:"penalty_per_mille,omitempty"`

	Residency   []string `json:"residency,omitempty"` // as resolved by policy
	Selector    string   `json:"selector,omitempty"`  // labels the node must match
	Traceparent string   `json:"traceparent,omitempty"`
	// Progress asks to be told of the result while it comes into being.
	Progress bool `json:"progress,omitempty"`
	// Line, if not zero, is the line that computes the model, of which the node is the
	// head.
	Line charter.ID `json:"line,omitzero"`
	// Audit means that a stage of a line is computed again: the node need not have all
	// of the model in memory.
	Audit bool `json:"audit,omitempty"`
}

// Ack tells a node that the hub has durably stored its reports (or will never
// want them): it may forget them.
type Ack struct {
	Leases []core.LeaseID `json:"leases"`
	Note   string         `json:"note,omitempty"` // why, when a report was not wanted
}

// Cancel tells a node to stop work on leases. It answers nothing.
type Cancel struct {
	Leases []core.LeaseID `json:"leases"`
	Reason string         `json:"reason"`
}

// Keep asks a node to hold models in memory for requests that are yet to come. It
// is said again every few seconds for as long as it holds; the node does it as far
// as its memory suffices, and answers nothing.
type Keep struct {
	Models []KeptModel `json:"models"`
}

// KeptModel is a model to hold, and the account whose requests are expected.
type KeptModel struct {
	Engine  string         `json:"engine"`
	Digest  core.Digest    `json:"digest"`
	Size    int64          `json:"size"`
	Account core.AccountID `json:"account"`
}

// Probe asks a node to measure the ways to others. What it finds is in its offers from
// then on.
type Probe struct {
	Peers []peer.Address `json:"peers"` // at most MaxWays
}

// Heartbeat is sent every 500 ms and when anything in it changes.
type Heartbeat struct {
	// Boot is new each time the agent starts. A hub that sees a new one says
	// again all leases that the node holds, since the node has forgotten them.
	Boot     string    `json:"boot"`
	Seq      uint64    `json:"seq"`
	SentMs   int64     `json:"sent_ms"`
	Draining bool      `json:"draining,omitempty"`
	Offer    NodeOffer `json:"offer"`
	// Holding counts leases not yet reported, Outbox reports not yet acknowledged.
	Holding int `json:"holding"`
	Outbox  int `json:"outbox"`
}

// NodeOffer is what a node offers to the market. The owner is not in it: that
// comes from the join token.
type NodeOffer struct {
	Price     core.Money        `json:"price"` // posted, per lease
	Country   string            `json:"country"`
	Region    string            `json:"region,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Engines   []string          `json:"engines"`
	Upstreams []string          `json:"upstreams,omitempty"` // models of the provider's own server, for the engine openai
	Trouble   string            `json:"trouble,omitempty"`   // why less is offered than should be
	Loaded    []core.Digest     `json:"loaded,omitempty"`    // models in memory, the last used first, at most MaxLoaded
	LoadRate  int64             `json:"load_rate,omitempty"` // bytes of a model fetched and loaded in a second, as measured; 0: not yet
	PeerAt    []string          `json:"peer_at,omitempty"`   // where other nodes can dial it; those that the hub relays to it need none
	Lines     []charter.State   `json:"lines,omitempty"`     // that it heads
	Ways      []probe.Way       `json:"ways,omitempty"`      // to other nodes, as far as the hub has asked
	Arch      string            `json:"arch"`
	OS        string            `json:"os"`
	Version   string            `json:"version"`
	Slots     int               `json:"slots"` // leases run at once
	Queue     int               `json:"queue"` // leases held at once, running ones included
	CPUMillis int64             `json:"cpu_millis"`
	Memory    int64             `json:"memory"`
	GPUs      []GPU             `json:"gpus,omitempty"`
	Bench     map[string]int64  `json:"bench,omitempty"`    // name to a rate per second
	Sandbox   []string          `json:"sandbox,omitempty"`  // what the kernel enforces
	Accounts  []core.AccountID  `json:"accounts,omitempty"` // serves only these; empty: all
}

// MaxLoaded bounds the models that an offer names, or a Keep asks for.
const MaxLoaded = 64

// MaxWays bounds the nodes to which one measures the way.
const MaxWays = 16

// MaxLines bounds the lines that a node may head.
const MaxLines = 16

// MaxWord bounds each name, label and value of an offer, in bytes.
const MaxWord = 256

// Long reports whether a word of the offer is longer than MaxWord.
func (o *NodeOffer) Long() bool {
	words := []string{o.Country, o.Region, o.Arch, o.OS, o.Version, o.Trouble}
	words = slices.Concat(words, o.PeerAt, o.Engines, o.Upstreams, o.Sandbox, slices.Collect(maps.Keys(o.Labels)), slices.Collect(maps.Values(o.Labels)), slices.Collect(maps.Keys(o.Bench)))
	for _, a := range o.Accounts {
		words = append(words, string(a))
	}
	for _, g := range o.GPUs {
		words = append(words, g.Type)
	}
	return slices.ContainsFunc(words, func(w string) bool { return len(w) > MaxWord })
}

// GPU is one accelerator as measured by the node.
type GPU struct {
	Type   string `json:"type"`
	Memory int64  `json:"memory"`
}

// Status is the coalesced progress of a node's leases: at most one message in
// 100 ms. A report implies that the lease was accepted and started.
type Status struct {
	Accepted []core.LeaseID `json:"accepted,omitempty"`
	Started  []core.LeaseID `json:"started,omitempty"`
	Refused  []Refusal      `json:"refused,omitempty"`
}

// Refusal says why a node will not do a lease.
type Refusal struct {
	Lease  core.LeaseID `json:"lease"`
	Reason string       `json:"reason"`
}

// Progress tells how results have grown. It promises nothing: what is lost is not
// said again, and the report has it all.
type Progress struct {
	Pieces []Piece `json:"pieces"`
}

// Piece is a part of a lease's result, from the byte at Offset on.
type Piece struct {
	Lease  core.LeaseID `json:"lease"`
	Offset int          `json:"offset"`
	Data   []byte       `json:"data"`
}

// Report carries one signed execution receipt, over one or many leases of one
// account, with the results it speaks of.
type Report struct {
	// Envelope is the DSSE envelope, as JSON, of the receipt statement.
	Envelope json.RawMessage `json:"envelope"`
	Results  []Result        `json:"results"`
}

// Result is the result of one lease: inline, or uploaded over HTTP before the
// report was sent. For a failed lease Data is the error text.
type Result struct {
	Lease    core.LeaseID `json:"lease"`
	Data     []byte       `json:"data,omitempty"`
	Uploaded bool         `json:"uploaded,omitempty"`
	// Accounts are what the nodes of a line say of the result, see audit.Entry.
	Accounts []byte `json:"accounts,omitempty"`
}
