package quickstart

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/corpus"
)

// The task's terms.
const (
	wantParts = 30
	replicas  = 3
	agree     = 2
	budget    = 3 * core.Credit
	purse     = 10 * core.Credit // of the requester
	modelName = "triage"
	requester = core.AccountID("demo")
)

var residency = []string{"EU"}

// Config says how to rehearse.
type Config struct {
	Start    StartNetwork
	Dir      string // for the network's data
	Listen   string
	Data     []corpus.Example // nil: generated
	Seed     uint64
	Requests int
	// Watch is told how far a stage has come: "training", then "task".
	Watch func(stage string, done, total int, note string)
	// Begin is called when the head of the screen is known.
	Begin func(*Result)
	Log   *slog.Logger
}

func (c *Config) parts() int { return min(wantParts, c.Requests) }

func seedFault(seed uint64) string {
	if seed == 0 {
		return ""
	}
	return ",seed=" + strconv.FormatUint(seed, 10)
}

// Session is a rehearsal whose network still runs.
type Session struct {
	Result  *Result
	Network *Network
	Key     string // of the requester
}

// Run rehearses. A Session is returned, also beside an error, as soon as there
// is a network to stop. A promise that was not kept is no error: see Result.OK.
func Run(ctx context.Context, cfg Config) (*Session, error) {
	w, err := prepare(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	net, err := cfg.Start(ctx, NetworkConfig{Dir: cfg.Dir, Listen: cfg.Listen, Nodes: Nodes(cfg.Seed), Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("start the network: %w", err)
	}
	s := &Session{Network: net, Result: &Result{URL: net.URL, Requests: len(w.requests), TrainSeconds: w.took.Seconds(), Replicas: replicas, Agree: agree, Residency: residency, Budget: budget}}
	r := rehearsal{cfg: &cfg, work: w, session: s, out: s.Result}
	if err := r.run(ctx); err != nil {
		return s, err
	}
	return s, nil
}

// rehearsal is one run, from a started network to a Result.
type rehearsal struct {
	cfg     *Config
	work    *work
	session *Session
	out     *Result

	admin, user *client.Client
	task        api.Task
	leases      []api.Lease
	keys        map[core.NodeID]string // public, as the hub published them before any work
}

func (r *rehearsal) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		r.connect, r.meetNodes, r.submit, r.follow, r.settle, r.readResult, r.readLeases, r.readNodes, r.audit, r.prove, r.tell, r.together, r.learn,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.out.OK = r.out.State == "succeeded"
	for _, c := range r.out.Checks {
		r.out.OK = r.out.OK && c.OK
	}
	return nil
}

// connect opens the requester's account and takes a key for it.
func (r *rehearsal) connect(ctx context.Context) (err error) {
	net := r.session.Network
	if r.admin, err = client.New(client.Config{URL: net.URL, Key: net.AdminKey}); err != nil {
		return err
	}
	_, err = r.admin.CreateAccount(ctx, requester, purse, "quickstart")
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == 409 { // --dir of an earlier rehearsal
		_, err = r.admin.Credit(ctx, requester, purse, "", "quickstart")
	}
	if err != nil {
		return err
	}
	key, err := r.admin.CreateKey(ctx, requester, "requester")
	if err != nil {
		return err
	}
	r.session.Key = key.Secret
	r.user, err = client.New(client.Config{URL: net.URL, Key: key.Secret})
	return err
}

// meetNodes waits until the market has all nodes, and notes what they are worth
// to it before they have done anything.
func (r *rehearsal) meetNodes(ctx context.Context) error {
	want := len(Nodes(0))
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("the nodes did not come up in 20 s"))
	defer cancel()
	err := r.until(ctx, func() (bool, error) {
		offers, err := client.Collect(r.user.Offers(ctx, client.OfferQuery{}))
		return len(offers) >= want, err
	})
	if err != nil {
		return err
	}
	r.keys = map[core.NodeID]string{}
	owners := map[core.AccountID]bool{}
	for n, err := range r.admin.Nodes(ctx) {
		if err != nil {
			return err
		}
		r.keys[n.ID] = n.PublicKey
		owners[n.Owner] = true
		r.out.Nodes = append(r.out.Nodes, NodeRow{Node: n.ID, Owner: n.Owner, Country: n.Country, Price: n.Price, ReliabilityFrom: n.Reliability})
	}
	r.out.Owners = len(owners)
	r.sortNodes()
	return nil
}

// until asks again every now and then.
func (r *rehearsal) until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// submit registers the model and submits the one task.
func (r *rehearsal) submit(ctx context.Context) error {
	blob, err := r.user.PutBlob(ctx, r.work.model)
	if err != nil {
		return fmt.Errorf("upload the model: %w", err)
	}
	m, err := r.user.RegisterModel(ctx, client.NewModel{Name: modelName, Engine: "text", Digest: blob.Digest, Description: "routes support requests"})
	if err != nil {
		return fmt.Errorf("register the model: %w", err)
	}
	input, err := r.work.input()
	if err != nil {
		return err
	}
	stored, err := r.user.PutBlob(ctx, input)
	if err != nil {
		return fmt.Errorf("upload the requests: %w", err)
	}
	n := len(r.work.requests)
	reply, err := r.user.Submit(ctx, &api.TaskSpec{
		Model:        m.ID,
		Input:        []api.DataPointer{client.Blob(stored.Digest)},
		Split:        &api.Split{Lines: (n + r.cfg.parts() - 1) / r.cfg.parts()},
		Residency:    residency,
		Verification: &api.Verification{Method: "quorum", Replicas: replicas, Agree: agree},
		Budget:       &api.Budget{MaxCost: budget},
	}, client.SubmitOptions{})
	if err != nil {
		return fmt.Errorf("submit the task: %w", err)
	}
	r.task = reply.Task
	r.out.Task, r.out.Model, r.out.Parts = reply.ID, m.ID, reply.Parts.Total
	r.cfg.Begin(r.out)
	return nil
}

// follow watches the task to its end.
func (r *rehearsal) follow(ctx context.Context) error {
	for e, err := range r.user.Events(ctx, r.task.ID, 0) {
		if err != nil {
			return fmt.Errorf("follow the task: %w", err)
		}
		if e.Type == "part.succeeded" || e.Type == "part.failed" || e.Type == "task.running" {
			t, err := r.user.Task(ctx, r.task.ID)
			if err != nil {
				return err
			}
			r.cfg.Watch("task", t.Parts.Succeeded+t.Parts.Failed, t.Parts.Total, "cost "+(t.Cost.Paid+t.Cost.Pending).String()+" of "+t.Cost.Max.String())
		}
	}
	return nil
}

// settle waits until every payout is made and the rest has come back.
func (r *rehearsal) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("the task was not settled within 20 s"))
	defer cancel()
	return r.until(ctx, func() (bool, error) {
		t, err := r.user.Task(ctx, r.task.ID)
		if err != nil {
			return false, err
		}
		r.task = t
		c := t.Cost
		return t.Ended() && c.Pending == 0 && c.Paid+c.Refunded == c.Max, nil
	})
}
