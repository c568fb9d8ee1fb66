package atoll_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"atoll/api"
	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/identity"
)

// fakeHub is a small hub in memory. Tasks run when the test says so.
type fakeHub struct {
	mu       sync.Mutex
	ids      *core.IDSource
	keys     map[string]atoll.Principal // by key
	tasks    map[core.TaskID]*fakeTask
	order    []core.TaskID
	seen     map[string]atoll.Submission // by account and idempotency key
	seenID   map[string]core.TaskID
	last     atoll.Submission
	blobs    map[core.Digest][]byte
	models   []api.Model
	offers   []api.Offer
	nodes    []api.Node
	accounts map[core.AccountID]core.Money
	credited map[string]bool
	instant  bool  // tasks end at once
	ready    error // answer of Ready
	explode  error // answer of Task, instead of the task
	leaseIn  []byte
	results  map[core.LeaseID][]byte
	joined   []identity.JoinRequest
	panics   bool
	services map[string]api.Service
}

type fakeTask struct {
	task    api.Task
	events  []api.Event
	changed chan struct{}
	parts   [][]byte // results
	cut     bool     // the result breaks off
}

func newFakeHub() *fakeHub {
	return &fakeHub{
		ids: core.NewIDSource(nil, nil), keys: map[string]atoll.Principal{
			"admin-key": {Account: "root", Scopes: []string{"admin", "requester", "read"}, KeyID: "k-admin"},
			"ann-key":   {Account: "ann", Scopes: []string{"requester", "read"}, KeyID: "k-ann"},
			"ann-read":  {Account: "ann", Scopes: []string{"read"}, KeyID: "k-ann-read"},
			"bob-key":   {Account: "bob", Scopes: []string{"requester", "read"}, KeyID: "k-bob"},
			"node-key":  {Account: "ann", Node: "paris-1", Scopes: []string{"node"}, KeyID: "k-node"},
		},
		services: map[string]api.Service{}, tasks: map[core.TaskID]*fakeTask{}, seen: map[string]atoll.Submission{}, seenID: map[string]core.TaskID{}, blobs: map[core.Digest][]byte{},
		accounts: map[core.AccountID]core.Money{"root": 100 * core.Credit, "ann": 100 * core.Credit, "bob": core.Credit},
		credited: map[string]bool{}, results: map[core.LeaseID][]byte{}, leaseIn: []byte("lease input"),
		nodes: []api.Node{{ID: "paris-1", Owner: "ann", State: "up"}, {ID: "rome-1", Owner: "bob", State: "up"}},
	}
}

func missing(what string, id any) error { return core.Errorf(core.NotFound, "no %s %v", what, id) }

func (h *fakeHub) Authenticate(_ context.Context, key string) (atoll.Principal, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.keys[key]
	if !ok {
		return p, core.Errorf(core.Unauthorized, "the API key is not known")
	}
	return p, nil
}

func (h *fakeHub) Submit(_ context.Context, s atoll.Submission) (api.SubmitReply, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = s
	name := string(s.Account) + " " + s.Key
	if had, ok := h.seen[name]; ok && s.Key != "" {
		if had.Body != s.Body {
			return api.SubmitReply{}, core.Errorf(core.Mismatch, "the Idempotency-Key was used for another request")
		}
		return api.SubmitReply{Task: h.tasks[h.seenID[name]].task, Duplicate: true}, nil
	}
	if s.Spec.Budget.MaxCost > h.accounts[s.Account] {
		return api.SubmitReply{}, core.Errorf(core.Insufficient, "not enough credit").At("budget.max_cost")
	}
	t := h.newTask(s.Account)
	h.seen[name], h.seenID[name] = s, t.task.ID
	if h.instant {
		t.end("succeeded")
	}
	return api.SubmitReply{Task: t.task}, nil
}

// newTask must be called with the lock held.
func (h *fakeHub) newTask(account core.AccountID) *fakeTask {
	t := &fakeTask{changed: make(chan struct{})}
	t.task = api.Task{ID: core.TaskID(h.ids.Next()), Account: account, State: "queued", Reason: "accepted", Model: "m@1", CreatedAt: time.Unix(1_800_000_000, 0).UTC()}
	h.tasks[t.task.ID] = t
	h.order = append(h.order, t.task.ID)
	t.event("task.queued")
	return t
}

func (t *fakeTask) event(kind string) {
	t.events = append(t.events, api.Event{ID: int64(len(t.events) + 1), Type: kind, Message: "about " + kind})
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *fakeTask) end(state string) {
	t.task.State = state
	now := time.Unix(1_800_000_001, 0).UTC()
	t.task.EndedAt = &now
	t.event("task." + state)
}

func (h *fakeHub) find(v atoll.Viewer, id core.TaskID) (*fakeTask, error) {
	t := h.tasks[id]
	if t == nil || (!v.Admin && t.task.Account != v.Account) {
		return nil, missing("task", id)
	}
	return t, nil
}

func (h *fakeHub) Wait(ctx context.Context, v atoll.Viewer, id core.TaskID) (api.Task, error) {
	for {
		h.mu.Lock()
		t, err := h.find(v, id)
		if err != nil {
			h.mu.Unlock()
			return api.Task{}, err
		}
		now, changed := t.task, t.changed
		h.mu.Unlock()
		if now.Ended() {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, nil
		}
	}
}

func (h *fakeHub) Task(_ context.Context, v atoll.Viewer, id core.TaskID) (api.Task, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.panics {
		panic("a bug")
	}
	if h.explode != nil {
		return api.Task{}, h.explode
	}
	t, err := h.find(v, id)
	if err != nil {
		return api.Task{}, err
	}
	return t.task, nil
}

func (h *fakeHub) Tasks(_ context.Context, v atoll.Viewer, state string, p atoll.Page) ([]api.Task, string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := core.TaskID(math.MaxInt64)
	if p.Cursor != "" {
		var err error
		if before, err = core.ParseTaskID(p.Cursor); err != nil {
			return nil, "", core.Errorf(core.Invalid, "%w", err).At("cursor")
		}
	}
	var out []api.Task
	for _, id := range slices.Backward(h.order) {
		t := h.tasks[id]
		if id >= before || (!v.Admin && t.task.Account != v.Account) || (state != "" && t.task.State != state) {
			continue
		}
		if len(out) == p.Limit {
			return out, out[len(out)-1].ID.String(), nil
		}
		out = append(out, t.task)
	}
	return out, "", nil
}

func window(n int, p atoll.Page) (from, to int, next string, err error) {
	if p.Cursor != "" {
		if from, err = strconv.Atoi(p.Cursor); err != nil || from < 0 || from > n {
			return 0, 0, "", core.Errorf(core.Invalid, "bad cursor").At("cursor")
		}
	}
	to = min(n, from+p.Limit)
	if to < n {
		next = strconv.Itoa(to)
	}
	return from, to, next, nil
}

func (h *fakeHub) Parts(_ context.Context, v atoll.Viewer, id core.TaskID, p atoll.Page) ([]api.Part, string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, err := h.find(v, id)
	if err != nil {
		return nil, "", err
	}
	from, to, next, err := window(len(t.parts), p)
	var out []api.Part
	for i := from; i < to; i++ {
		out = append(out, api.Part{Index: i, State: "succeeded", InputDigest: core.DigestOf(t.parts[i])})
	}
	return out, next, err
}

func (h *fakeHub) Leases(ctx context.Context, v atoll.Viewer, id core.TaskID, p atoll.Page) ([]api.Lease, string, error) {
	parts, next, err := h.Parts(ctx, v, id, p)
	var out []api.Lease
	for _, p := range parts {
		out = append(out, api.Lease{ID: core.LeaseID(p.Index + 1), Task: id, Part: p.Index, State: "passed"})
	}
	return out, next, err
}

func (h *fakeHub) Receipts(ctx context.Context, v atoll.Viewer, id core.TaskID, p atoll.Page) ([]api.ReceiptRef, string, error) {
	parts, next, err := h.Parts(ctx, v, id, p)
	var out []api.ReceiptRef
	for _, p := range parts {
		out = append(out, api.ReceiptRef{Lease: core.LeaseID(p.Index + 1), Part: p.Index})
	}
	return out, next, err
}

func (h *fakeHub) Events(_ context.Context, v atoll.Viewer, id core.TaskID, after int64) ([]api.Event, bool, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, err := h.find(v, id)
	if err != nil {
		return nil, false, nil, err
	}
	rows := slices.Clone(t.events[min(after, int64(len(t.events))):])
	return rows, t.task.Ended(), t.changed, nil
}

func (h *fakeHub) Result(_ context.Context, v atoll.Viewer, id core.TaskID, w io.Writer) error {
	h.mu.Lock()
	t, err := h.find(v, id)
	h.mu.Unlock()
	if err != nil {
		return err
	}
	if t.task.State != "succeeded" {
		return core.Errorf(core.Conflict, "the task is %s", t.task.State)
	}
	for _, p := range t.parts {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	if t.cut {
		return errors.New("the disk broke")
	}
	return nil
}

func (h *fakeHub) PartResult(_ context.Context, v atoll.Viewer, id core.TaskID, part int, w io.Writer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, err := h.find(v, id)
	if err != nil {
		return err
	}
	if part >= len(t.parts) {
		return missing("part", part)
	}
	_, err = w.Write(t.parts[part])
	return err
}

func (h *fakeHub) Cancel(_ context.Context, v atoll.Viewer, id core.TaskID) (api.Task, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, err := h.find(v, id)
	if err != nil {
		return api.Task{}, err
	}
	if !t.task.Ended() {
		t.end("cancelled")
	}
	return t.task, nil
}

func (h *fakeHub) Receipt(_ context.Context, v atoll.Viewer, id core.LeaseID) ([]byte, error) {
	switch {
	case id == 1 && (v.Admin || v.Account == "ann"):
		return []byte(`{"receipt":1}`), nil
	case id == 2:
		return nil, core.Errorf(core.Unavailable, "the receipt is not yet under a checkpoint")
	}
	return nil, missing("lease", id)
}

func (h *fakeHub) Verdict(ctx context.Context, v atoll.Viewer, id core.LeaseID) ([]byte, error) {
	return h.Receipt(ctx, v, id)
}

func (h *fakeHub) SigningKeys(context.Context) (api.SigningKeys, error) {
	return api.SigningKeys{Hub: api.SigningKey{ID: "hub", PublicKey: "PEM"}, Nodes: []api.SigningKey{}}, nil
}

func (h *fakeHub) WebhookKeys(context.Context, atoll.Viewer) (api.WebhookKeys, error) {
	return api.WebhookKeys{Secret: "whsec_x", PublicKey: "whpk_x"}, nil
}

func (h *fakeHub) TrustedRoot(context.Context) ([]byte, error) { return []byte(`{"root":1}`), nil }

func (h *fakeHub) Offers(context.Context) ([]api.Offer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.offers), nil
}

func (h *fakeHub) Node(ctx context.Context, id core.NodeID) (api.Node, error) {
	rows, err := h.Nodes(ctx)
	for _, n := range rows {
		if n.ID == id {
			return n, err
		}
	}
	return api.Node{}, core.Errorf(core.NotFound, "no node %.80s", id)
}

func (h *fakeHub) Nodes(context.Context) ([]api.Node, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.nodes), nil
}

func (h *fakeHub) setNode(id core.NodeID, state string) (api.Node, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.nodes {
		if h.nodes[i].ID == id {
			h.nodes[i].State = state
			return h.nodes[i], nil
		}
	}
	return api.Node{}, missing("node", id)
}

func (h *fakeHub) Drain(_ context.Context, id core.NodeID, on bool) (api.Node, error) {
	if on {
		return h.setNode(id, "draining")
	}
	return h.setNode(id, "up")
}

func (h *fakeHub) Revoke(_ context.Context, id core.NodeID) (api.Node, error) {
	h.mu.Lock()
	for k, p := range h.keys {
		if p.Node == id {
			delete(h.keys, k)
		}
	}
	h.mu.Unlock()
	return h.setNode(id, "revoked")
}

func (h *fakeHub) PutBlob(_ context.Context, _ atoll.Viewer, r io.Reader, want core.Digest, limit int64) (core.Digest, int64, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return core.Digest{}, 0, fmt.Errorf("store: %w", err)
	}
	d := core.DigestOf(b)
	if !want.IsZero() && d != want {
		return core.Digest{}, 0, core.Errorf(core.Invalid, "the bytes have digest %s", d)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blobs[d] = b
	return d, int64(len(b)), nil
}

func (h *fakeHub) RegisterModel(_ context.Context, v atoll.Viewer, m atoll.ModelUpload) (api.Model, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.blobs[m.Digest]; !ok {
		return api.Model{}, core.Errorf(core.NotFound, "no bytes with digest %s are stored", m.Digest).At("digest")
	}
	row := api.Model{ID: fmt.Sprintf("%s@%d", m.Name, len(h.models)+1), Object: "model", Name: m.Name, OwnedBy: v.Account, Digest: m.Digest, Engine: m.Engine}
	h.models = append(h.models, row)
	return row, nil
}

func (h *fakeHub) Models(context.Context) ([]api.Model, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.models), nil
}

func (h *fakeHub) Model(_ context.Context, id string) (api.Model, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.models {
		if m.ID == id {
			return m, nil
		}
	}
	return api.Model{}, missing("model", id)
}

func (h *fakeHub) Accounts(_ context.Context, v atoll.Viewer) ([]api.Account, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []api.Account
	for id, m := range h.accounts {
		if v.Admin || v.Account == id {
			out = append(out, api.Account{ID: id, Available: m})
		}
	}
	slices.SortFunc(out, func(a, b api.Account) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	return out, nil
}

func (h *fakeHub) CreateAccount(_ context.Context, id core.AccountID, credit core.Money, _ string) (api.Account, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.accounts[id]; ok {
		return api.Account{}, core.Errorf(core.Conflict, "account %s exists", id)
	}
	if err := core.CheckName("account", string(id)); err != nil {
		return api.Account{}, core.Errorf(core.Invalid, "%w", err).At("id")
	}
	h.accounts[id] = credit
	return api.Account{ID: id, Available: credit}, nil
}

func (h *fakeHub) Credit(_ context.Context, id core.AccountID, amount core.Money, key, _ string) (api.Account, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.accounts[id]; !ok {
		return api.Account{}, missing("account", id)
	}
	if key == "" || !h.credited[key] {
		h.accounts[id] += amount
	}
	h.credited[key] = true
	return api.Account{ID: id, Available: h.accounts[id]}, nil
}

func (h *fakeHub) Statement(_ context.Context, v atoll.Viewer, id core.AccountID, p atoll.Page) ([]api.Transfer, string, error) {
	if !v.Admin && v.Account != id {
		return nil, "", missing("account", id)
	}
	from, to, next, err := window(5, p)
	var out []api.Transfer
	for i := from; i < to; i++ {
		out = append(out, api.Transfer{ID: core.TransferID(100 - i), Kind: "issue", Credit: id, Amount: core.Credit})
	}
	return out, next, err
}

func (h *fakeHub) Audit(context.Context) (api.Audit, error) { return api.Audit{OK: true}, nil }

func (h *fakeHub) Keys(context.Context) ([]api.APIKey, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := []api.APIKey{}
	for _, p := range h.keys {
		keys = append(keys, api.APIKey{ID: p.KeyID, Account: p.Account, Scopes: p.Scopes})
	}
	return keys, nil
}

func (h *fakeHub) CreateKey(_ context.Context, account core.AccountID, scopes []string) (api.APIKey, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := fmt.Sprintf("k-%d", len(h.keys))
	h.keys["secret-"+id] = atoll.Principal{Account: account, Scopes: scopes, KeyID: id}
	return api.APIKey{ID: id, Account: account, Scopes: scopes, Secret: "secret-" + id}, nil
}

func (h *fakeHub) RevokeKey(_ context.Context, id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, p := range h.keys {
		if p.KeyID == id {
			delete(h.keys, k)
		}
	}
	return nil
}

func (h *fakeHub) CreateJoinToken(_ context.Context, owner core.AccountID, uses int, ttl api.Duration) (api.JoinToken, error) {
	return api.JoinToken{Token: "atl_join_x", Owner: owner, Uses: uses, ExpiresAt: time.Unix(0, 0).Add(ttl.Std()).UTC()}, nil
}

func (h *fakeHub) Join(_ context.Context, req identity.JoinRequest) (identity.JoinGrant, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.joined = append(h.joined, req)
	if req.Token != "good" {
		return identity.JoinGrant{}, core.Errorf(core.Unauthorized, "the join token is not known")
	}
	return identity.JoinGrant{Node: req.Node, Owner: "ann"}, nil
}

func (h *fakeHub) RenewCertificate(context.Context, core.NodeID) (string, error) { return "PEM", nil }

func (h *fakeHub) LeaseInput(_ context.Context, node core.NodeID, id core.LeaseID, w io.Writer) error {
	if node != "paris-1" || id != 1 {
		return missing("lease", id)
	}
	_, err := w.Write(h.leaseIn)
	return err
}

func (h *fakeHub) PutResult(_ context.Context, node core.NodeID, id core.LeaseID, r io.Reader) error {
	if node != "paris-1" || id != 1 {
		return missing("lease", id)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.results[id] = b
	return nil
}

func (h *fakeHub) NodeModel(_ context.Context, node core.NodeID, d core.Digest) (io.ReadSeekCloser, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, ok := h.blobs[d]
	if node != "paris-1" || !ok {
		return nil, missing("model", d)
	}
	return seekNop{bytes.NewReader(b)}, nil
}

type seekNop struct{ io.ReadSeeker }

func (seekNop) Close() error { return nil }

func (h *fakeHub) NodeChunks(ctx context.Context, node core.NodeID, d core.Digest) (*blob.Manifest, error) {
	f, err := h.NodeModel(ctx, node, d)
	if err != nil {
		return nil, err
	}
	return blob.Describe(ctx, f, blob.ChunkSize)
}

func (h *fakeHub) Ready(context.Context) error { return h.ready }

var _ atoll.Hub = (*fakeHub)(nil)

// keepingHub remembers every specification.
type keepingHub struct {
	*fakeHub
	kept []*api.TaskSpec
}

func (h *keepingHub) Submit(ctx context.Context, s atoll.Submission) (api.SubmitReply, error) {
	r, err := h.fakeHub.Submit(ctx, s)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, s.Spec)
	return r, err
}

// instantHub does as little as a hub can, for benchmarks.
type instantHub struct{ *fakeHub }

func (h *instantHub) Submit(_ context.Context, s atoll.Submission) (api.SubmitReply, error) {
	return api.SubmitReply{Task: api.Task{
		ID: core.TaskID(h.ids.Next()), Account: s.Account, State: "queued", Reason: "accepted", Model: s.Spec.Model, CreatedAt: time.Now(),
		Parts: api.PartCounts{Total: 1, Waiting: 1}, Cost: api.Cost{Max: s.Spec.Budget.MaxCost},
	}}, nil
}

func (h *instantHub) Wait(_ context.Context, v atoll.Viewer, id core.TaskID) (api.Task, error) {
	now := time.Now()
	return api.Task{
		ID: id, Account: v.Account, State: "succeeded", Reason: "all parts are verified", Model: "m@1", CreatedAt: now, EndedAt: &now,
		Parts: api.PartCounts{Total: 1, Succeeded: 1}, Cost: api.Cost{Max: core.Credit, Paid: 30_000, Refunded: 970_000},
	}, nil
}

func (h *fakeHub) PutService(_ context.Context, v atoll.Viewer, name string, spec api.ServiceSpec) (api.Service, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := api.Service{Name: name, Owner: v.Account, ServiceSpec: spec}
	h.services[name] = s
	return s, nil
}

func (h *fakeHub) DeleteService(_ context.Context, _ atoll.Viewer, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.services[name]; !ok {
		return missing("service", name)
	}
	delete(h.services, name)
	return nil
}

func (h *fakeHub) Service(_ context.Context, name string) (api.Service, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, ok := h.services[name]; ok {
		return s, nil
	}
	return api.Service{}, missing("service", name)
}

func (h *fakeHub) Services(context.Context) ([]api.Service, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.services), func(a, b api.Service) int { return strings.Compare(a.Name, b.Name) }), nil
}
