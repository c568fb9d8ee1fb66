package api

import (
	"time"

	"atoll/internal/core"
)

// List is a page of rows. Next, when set, is the cursor of the following page.
type List[T any] struct {
	Object string `json:"object" enum:"list"`
	Data   []T    `json:"data"`
	Next   string `json:"next,omitempty"`
}

// Offer is a row of GET /v1/market/offers: a node that can be had now.
type Offer struct {
	Node          core.NodeID       `json:"node"`
	Owner         core.AccountID    `json:"owner"`
	Price         core.Money        `json:"price" doc:"credits for each lease"`
	Country       string            `json:"country"`
	Region        string            `json:"region,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Engines       []string          `json:"engines"`
	Upstreams     []string          `json:"upstreams,omitempty" doc:"models of its own OpenAI-compatible server, for the engine openai"`
	Loaded        []string          `json:"loaded,omitempty" doc:"registered models that it has in memory: it need not fetch and load them first"`
	Reliability   float64           `json:"reliability" doc:"mean of Beta(r+1, s+1)"`
	ReliabilityP5 float64           `json:"reliability_p5" doc:"its 5th percentile, by which nodes are ranked"`
	P50Ms         float64           `json:"p50_ms" doc:"dispatch to durable report, last leases"`
	P99Ms         float64           `json:"p99_ms"`
	Slots         int               `json:"slots"`
	Free          int               `json:"free"`
}

// Node is a row of GET /v1/nodes.
type Node struct {
	ID          core.NodeID       `json:"id"`
	Owner       core.AccountID    `json:"owner"`
	State       string            `json:"state" enum:"up,silent,draining,drained,revoked"`
	Country     string            `json:"country"`
	Region      string            `json:"region,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Engines     []string          `json:"engines"`
	Upstreams   []string          `json:"upstreams,omitempty" doc:"models of its own OpenAI-compatible server, for the engine openai"`
	Trouble     string            `json:"trouble,omitempty" doc:"why it offers less than it should, in its own words"`
	Peers       []string          `json:"peers,omitempty" doc:"where other nodes dial it, the best first: host:port, or relay/NODE through the hub"`
	Price       core.Money        `json:"price"`
	Version     string            `json:"version"`
	Platform    string            `json:"platform" example:"linux/amd64"`
	CPUMillis   int64             `json:"cpu_millis"`
	Memory      int64             `json:"memory"`
	GPUs        []NodeGPU         `json:"gpus,omitempty"`
	Bench       map[string]int64  `json:"bench,omitempty"`
	Sandbox     []string          `json:"sandbox,omitempty"`
	Reliability float64           `json:"reliability"`
	Passed      int64             `json:"passed"`
	Rejected    int64             `json:"rejected"`
	Lost        int64             `json:"lost"`
	InFlight    int               `json:"in_flight"`
	Earned      core.Money        `json:"earned"`
	Pending     core.Money        `json:"pending,omitzero" doc:"granted and not yet paid; only of one's own node (GET /v1/node)"`
	Idle        string            `json:"idle,omitempty" doc:"why it has nothing to do; only of one's own node (GET /v1/node)"`
	Comparable  *Comparable       `json:"comparable,omitempty" doc:"only of one's own node (GET /v1/node)"`
	PublicKey   string            `json:"public_key" doc:"PEM, ECDSA P-256: what its receipts are checked with"`
	JoinedAt    time.Time         `json:"joined_at"`
	SeenAt      *time.Time        `json:"seen_at,omitempty"`
}

// Comparable is what other owners ask for the same work: for the models of a node's
// own server, or for one of its engines where it has no such server.
type Comparable struct {
	Nodes int        `json:"nodes" doc:"that can be had now"`
	Price core.Money `json:"price" doc:"their median; of an even number the lower one"`
}

// NodeGPU is an accelerator of a node.
type NodeGPU struct {
	Type   string `json:"type"`
	Memory int64  `json:"memory"`
}

// Model is a row of GET /v1/models, a superset of OpenAI's.
type Model struct {
	ID           string         `json:"id" doc:"name@version"`
	Object       string         `json:"object" enum:"model"`
	Created      int64          `json:"created" doc:"Unix seconds"`
	OwnedBy      core.AccountID `json:"owned_by"`
	Name         string         `json:"name"`
	Version      int            `json:"version"`
	Engine       string         `json:"engine"`
	Digest       core.Digest    `json:"digest"`
	Size         int64          `json:"size"`
	Description  string         `json:"description,omitempty"`
	Reproducible bool           `json:"reproducible"`
	Upstream     string         `json:"upstream,omitempty" doc:"openai: what the model is called at providers' own servers"`
	Reference    core.Digest    `json:"reference,omitzero" doc:"openai: the language model with the same weights, by which answers can be checked"`
	// Arch, if set, is the only GOARCH that replicas of one part share.
	Floats bool `json:"floats,omitempty" doc:"wasm: uses floats, so replicas run on one platform class"`
}

// Blob answers POST /v1/blobs.
type Blob struct {
	Digest core.Digest `json:"digest"`
	Size   int64       `json:"size" doc:"bytes"`
}

// Account is an account's balance.
type Account struct {
	ID        core.AccountID `json:"id"`
	Available core.Money     `json:"available"`
	Held      core.Money     `json:"held"`
	CreatedAt time.Time      `json:"created_at"`

	StoredBytes  int64 `json:"stored_bytes" doc:"Bytes kept for the account: uploads, and inputs and results of its tasks"`
	StorageLimit int64 `json:"storage_limit" doc:"Bytes that may be kept for it"`
}

// Transfer is a row of an account's statement.
type Transfer struct {
	ID     core.TransferID `json:"id"`
	Time   time.Time       `json:"time"`
	Kind   string          `json:"kind" enum:"issue,hold,post,void"`
	Debit  core.AccountID  `json:"debit"`
	Credit core.AccountID  `json:"credit"`
	Amount core.Money      `json:"amount"`
	Task   core.TaskID     `json:"task,omitzero"`
	Lease  core.LeaseID    `json:"lease,omitzero"`
	Memo   string          `json:"memo,omitempty"`
}

// Audit is the answer of GET /v1/ledger/audit: the invariants, checked over
// the whole ledger.
type Audit struct {
	OK            bool       `json:"ok"`
	Debits        core.Money `json:"debits"`
	Credits       core.Money `json:"credits"`
	Transfers     int64      `json:"transfers"`
	DoubleCharged int64      `json:"double_charged" doc:"parts paid more often than they have replicas, leases paid twice"`
	Unverified    int64      `json:"unverified" doc:"payments without a verdict in a published checkpoint"`
	Problems      []string   `json:"problems,omitempty"`
}

// SigningKeys are the public keys that receipts and verdicts are signed with.
// Keep your own copy: a hub could tell another tale tomorrow.
type SigningKeys struct {
	Hub   SigningKey   `json:"hub" doc:"signs verdicts"`
	Nodes []SigningKey `json:"nodes" doc:"sign receipts; all that ever joined"`
}

// SigningKey is one public key.
type SigningKey struct {
	ID        string         `json:"id" doc:"of the hub or node"`
	Owner     core.AccountID `json:"owner,omitempty"`
	PublicKey string         `json:"public_key" doc:"PEM, ECDSA P-256"`
}

// NodeCertificate is what a node shows of itself in mutual TLS.
type NodeCertificate struct {
	Certificate string `json:"certificate" doc:"PEM; for the key with which the node has joined"`
}

// WebhookKeys verify callbacks as Standard Webhooks demand.
type WebhookKeys struct {
	Secret    string `json:"secret" doc:"whsec_…: for v1 signatures, the account's own"`
	PublicKey string `json:"public_key" doc:"whpk_…: for v1a signatures, the hub's"`
}

// APIKey describes a key; Secret is shown once, when it is made.
type APIKey struct {
	ID        string         `json:"id"`
	Account   core.AccountID `json:"account"`
	Node      core.NodeID    `json:"node,omitempty" doc:"whose key it is, if a node's"`
	Scopes    []string       `json:"scopes" doc:"admin, requester, read; node for a node's own"`
	CreatedAt time.Time      `json:"created_at"`
	Secret    string         `json:"secret,omitempty"`
}

// JoinToken admits nodes for an owner; Token is shown once.
type JoinToken struct {
	Token     string         `json:"token"`
	Owner     core.AccountID `json:"owner"`
	ExpiresAt time.Time      `json:"expires_at"`
	Uses      int            `json:"uses" doc:"how many nodes may join with it"`
}

// Problem is an RFC 9457 problem document.
type Problem struct {
	Type      string `json:"type" doc:"stable: urn:atoll:problem:<kind>"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Field     string `json:"field,omitempty"`
	Hint      string `json:"hint,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

func (p *Problem) Error() string {
	s := p.Detail
	if p.Field != "" {
		s = p.Field + ": " + s
	}
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}
