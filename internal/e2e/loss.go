package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/examples/wasm"
	"atoll/internal/core"
)

const (
	// runsFor is how long each lease runs at least: time enough to be killed in.
	runsFor = 2 * time.Second
	// lossTries is how often a part may end before the kill reaches its node.
	lossTries = 10
)

// LossConfig says what to measure.
type LossConfig struct {
	Config     // Nodes: at least 2; NodeArgs are set here
	Rounds int // kills
}

// LossReport is the outcome of NodeLoss. Its JSON keys are stable.
type LossReport struct {
	Nodes  int    `json:"nodes"`
	Rounds []Loss `json:"rounds"`
	// The slowest round.
	NoticedMs   int64 `json:"noticed_ms_max"`
	ElsewhereMs int64 `json:"elsewhere_ms_max"`
}

// Loss is what one kill came to. Times are milliseconds after SIGKILL, by the
// times of the task's own events; hub and caller share a clock.
type Loss struct {
	Task        core.TaskID `json:"task"`
	Killed      core.NodeID `json:"killed"` // the node that ran the part
	Spare       core.NodeID `json:"spare"`  // the node that ran it then
	NoticedMs   int64       `json:"noticed_ms"`
	ElsewhereMs int64       `json:"elsewhere_ms"` // running there
	DoneMs      int64       `json:"done_ms"`      // verified result
}

// NodeLoss starts a hub and nodes, and kills, round after round, the node that
// runs a part just then. It fails if the loss goes unnoticed, the part does not
// run elsewhere, its result is wrong, or the dead node is paid; how long all
// that took is in the report. Tasks have default terms.
func NodeLoss(ctx context.Context, cfg LossConfig) (_ *LossReport, err error) {
	if cfg.Nodes < 2 || cfg.Rounds < 1 {
		return nil, fmt.Errorf("%d nodes and %d rounds: want at least 2, so that one is left, and 1", cfg.Nodes, cfg.Rounds)
	}
	cfg.NodeArgs = []string{"--inject-fault", "delay=" + runsFor.String()}
	n, err := Start(ctx, cfg.Config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	c, err := n.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	model, err := PushModel(ctx, c, wasm.Echo)
	if err != nil {
		return nil, err
	}
	out := &LossReport{Nodes: cfg.Nodes}
	for range cfg.Rounds {
		loss, err := n.loseOne(ctx, c, model)
		if err != nil {
			return nil, err
		}
		out.Rounds = append(out.Rounds, *loss)
		out.NoticedMs, out.ElsewhereMs = max(out.NoticedMs, loss.NoticedMs), max(out.ElsewhereMs, loss.ElsewhereMs)
	}
	return out, nil
}

// PushModel uploads a WebAssembly module and registers it.
func PushModel(ctx context.Context, c *client.Client, module []byte) (id string, err error) {
	b, err := c.PutBlob(ctx, module)
	if err != nil {
		return "", err
	}
	m, err := c.RegisterModel(ctx, client.NewModel{Name: "module", Engine: "wasm", Digest: b.Digest})
	return m.ID, err
}

// loseOne submits tasks until one loses its node in the middle of a part.
func (n *Network) loseOne(ctx context.Context, c *client.Client, model string) (*Loss, error) {
	for range lossTries {
		x := lossRound{n: n, c: c}
		err := x.run(ctx, model)
		if x.killed != nil {
			err = errors.Join(err, x.killed.Start(), n.WaitUp(ctx))
		}
		if err != nil {
			return nil, err
		}
		if x.lost {
			return &x.out, x.check(ctx)
		}
	}
	return nil, fmt.Errorf("%d parts ended within %s of their start before their node could be killed: this machine is too busy to measure", lossTries, runsFor)
}

// lossRound follows one task's events and kills the node that runs it.
type lossRound struct {
	n      *Network
	c      *client.Client
	out    Loss
	lease  core.LeaseID // that ran when its node was killed
	killed *Process
	at     time.Time // of SIGKILL
	lost   bool
}

const lossInput = "a part that must not be lost"

func (x *lossRound) run(ctx context.Context, model string) error {
	reply, err := x.c.Submit(ctx, &api.TaskSpec{Model: model, Input: []api.DataPointer{client.Inline([]byte(lossInput))}}, client.SubmitOptions{})
	if err != nil {
		return err
	}
	x.out.Task = reply.ID
	for e, err := range x.c.Events(ctx, reply.ID, 0) {
		if err != nil {
			return err
		}
		if err := x.see(e); err != nil {
			return err
		}
	}
	return nil
}

// see acts on one event, in the order in which the hub has made them durable.
func (x *lossRound) see(e api.Event) error {
	since := e.Time.Sub(x.at).Milliseconds()
	switch {
	case e.Type == "lease.running" && x.killed == nil:
		for _, p := range x.n.Nodes {
			if p.Name == string(e.Node) {
				x.killed, x.lease, x.out.Killed = p, e.Lease, e.Node
			}
		}
		if x.killed == nil {
			return fmt.Errorf("%s runs at %q, which is none of ours", e.Lease, e.Node)
		}
		x.at = time.Now()
		return x.killed.Kill()
	case e.Type == "lease.lost" && e.Lease == x.lease:
		x.lost, x.out.NoticedMs = true, since
	case e.Type == "lease.running" && x.lost:
		if e.Node == x.out.Killed {
			return fmt.Errorf("%s of %s runs at %s, which is dead", e.Lease, x.out.Task, e.Node)
		}
		x.out.Spare, x.out.ElsewhereMs = e.Node, since
	case e.Type == "task.succeeded":
		x.out.DoneMs = since
	}
	return nil
}

// check looks at what came of it.
func (x *lossRound) check(ctx context.Context) error {
	data, err := x.c.PartResult(ctx, x.out.Task, 0)
	if err != nil {
		return err
	}
	switch {
	case x.out.Spare == "":
		return fmt.Errorf("%s: no event says that the part ran elsewhere", x.out.Task)
	case !bytes.Equal(data, []byte(lossInput)):
		return fmt.Errorf("%s: the result is %q", x.out.Task, data)
	}
	for l, err := range x.c.Leases(ctx, x.out.Task) {
		switch {
		case err != nil:
			return err
		case l.ID == x.lease && (l.State != "lost" || l.Pay != 0):
			return fmt.Errorf("%s of the dead node is %s and is paid %s", l.ID, l.State, l.Pay)
		case l.Node == x.out.Spare && (l.State != "passed" || l.Pay != l.Price):
			return fmt.Errorf("%s, which did the part, is %s and is paid %s of %s", l.ID, l.State, l.Pay, l.Price)
		}
	}
	return nil
}
