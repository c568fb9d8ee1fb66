package atoll

import (
	"context"
	"io"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/request"
)

// The words in which the API speaks to the hub.
type (
	Viewer      = request.Viewer
	Page        = request.Page
	Submission  = request.Submission
	ModelUpload = request.ModelUpload
)

// Hub is what the API needs of the rest of the hub; internal/control
// implements it. Errors carry a core.Kind.
type Hub interface {
	Submit(ctx context.Context, s Submission) (api.SubmitReply, error)
	// Wait returns when the task has ended or ctx is done, with its state then.
	Wait(ctx context.Context, v Viewer, id core.TaskID) (api.Task, error)
	Task(ctx context.Context, v Viewer, id core.TaskID) (api.Task, error)
	Tasks(ctx context.Context, v Viewer, state string, p Page) ([]api.Task, string, error)
	Parts(ctx context.Context, v Viewer, id core.TaskID, p Page) ([]api.Part, string, error)
	Leases(ctx context.Context, v Viewer, id core.TaskID, p Page) ([]api.Lease, string, error)
	// Events returns events with IDs greater than after, and whether the last
	// of them is the task's last ever. Changed is closed at the next event.
	Events(ctx context.Context, v Viewer, id core.TaskID, after int64) (ev []api.Event, last bool, changed <-chan struct{}, err error)
	// Result writes the parts' results in order; each part's bytes as they are.
	Result(ctx context.Context, v Viewer, id core.TaskID, w io.Writer) error
	PartResult(ctx context.Context, v Viewer, id core.TaskID, part int, w io.Writer) error
	Cancel(ctx context.Context, v Viewer, id core.TaskID) (api.Task, error)

	Receipts(ctx context.Context, v Viewer, id core.TaskID, p Page) ([]api.ReceiptRef, string, error)
	// Receipt and Verdict return Sigstore bundles. core.Unavailable while the
	// entry is not yet under a checkpoint.
	Receipt(ctx context.Context, v Viewer, id core.LeaseID) ([]byte, error)
	Verdict(ctx context.Context, v Viewer, id core.LeaseID) ([]byte, error)
	TrustedRoot(ctx context.Context) ([]byte, error)
	SigningKeys(ctx context.Context) (api.SigningKeys, error)

	Offers(ctx context.Context) ([]api.Offer, error)
	Nodes(ctx context.Context) ([]api.Node, error)
	// Node returns one with what its owner alone is told.
	Node(ctx context.Context, id core.NodeID) (api.Node, error)
	Drain(ctx context.Context, id core.NodeID, on bool) (api.Node, error)
	Revoke(ctx context.Context, id core.NodeID) (api.Node, error)

	// PutBlob stores an uploaded input or model: at most limit bytes; want may be zero.
	PutBlob(ctx context.Context, v Viewer, r io.Reader, want core.Digest, limit int64) (core.Digest, int64, error)
	RegisterModel(ctx context.Context, v Viewer, m ModelUpload) (api.Model, error)
	Models(ctx context.Context) ([]api.Model, error)
	Model(ctx context.Context, id string) (api.Model, error)
	PutService(ctx context.Context, v Viewer, name string, spec api.ServiceSpec) (api.Service, error)
	DeleteService(ctx context.Context, v Viewer, name string) error
	Service(ctx context.Context, name string) (api.Service, error)
	Services(ctx context.Context) ([]api.Service, error)

	Accounts(ctx context.Context, v Viewer) ([]api.Account, error)
	CreateAccount(ctx context.Context, id core.AccountID, credit core.Money, memo string) (api.Account, error)
	Credit(ctx context.Context, id core.AccountID, amount core.Money, key, memo string) (api.Account, error)
	Statement(ctx context.Context, v Viewer, id core.AccountID, p Page) ([]api.Transfer, string, error)
	Audit(ctx context.Context) (api.Audit, error)
	// WebhookKeys returns what the viewer's callbacks are verified with.
	WebhookKeys(ctx context.Context, v Viewer) (api.WebhookKeys, error)
	// Keys lists all API keys, by ID, without their secrets.
	Keys(ctx context.Context) ([]api.APIKey, error)
	CreateKey(ctx context.Context, account core.AccountID, scopes []string) (api.APIKey, error)
	RevokeKey(ctx context.Context, id string) error
	CreateJoinToken(ctx context.Context, owner core.AccountID, uses int, ttl api.Duration) (api.JoinToken, error)

	// For nodes. Join checks the token and the request's own signature.
	Join(ctx context.Context, req identity.JoinRequest) (identity.JoinGrant, error)
	// RenewCertificate returns the next certificate of a node, in PEM.
	RenewCertificate(ctx context.Context, node core.NodeID) (string, error)
	// LeaseInput and PutResult serve inputs and results over bus.InlineLimit,
	// NodeModel the model of a lease that the node holds, NodeChunks its manifest.
	LeaseInput(ctx context.Context, node core.NodeID, id core.LeaseID, w io.Writer) error
	PutResult(ctx context.Context, node core.NodeID, id core.LeaseID, r io.Reader) error
	NodeModel(ctx context.Context, node core.NodeID, digest core.Digest) (io.ReadSeekCloser, error)
	NodeChunks(ctx context.Context, node core.NodeID, digest core.Digest) (*blob.Manifest, error)

	// Authenticate finds whom an API key belongs to. core.Unauthorized if nobody.
	Authenticate(ctx context.Context, key string) (Principal, error)
	// Ready says what the hub still waits for, or nil.
	Ready(ctx context.Context) error
}

// Principal is who a request comes from.
type Principal = auth.Principal
