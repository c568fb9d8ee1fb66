package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/receipt"
	"atoll/internal/tlog"
)

// checkers look at tasks beside each other.
const checkers = 4

// checker compares what the hub shows in the end with what the client was told:
//
//   - each acknowledged task is there, and has succeeded, with the right result;
//   - by its events it has ended exactly once;
//   - no idempotency key has become two tasks;
//   - each task has cost its price for each replica, once, and the rest of its
//     budget is back; by the hub's audit, too;
//   - each paid lease has a receipt and a verdict that a stranger accepts.
type checker struct {
	t      *testing.T
	c      *client.Client
	killed []kill
	logs   []tlog.Key
	hub    receipt.Key
	nodes  map[core.NodeID]receipt.Key

	mu       sync.Mutex // guards what follows
	paid     core.Money
	receipts int
	inFlight []int // tasks, at each kill
	out      []int // leases at the killed, at each kill
}

func check(t *testing.T, c *client.Client, l *load, killed []kill) {
	t.Helper()
	x := &checker{t: t, c: c, killed: killed, nodes: map[core.NodeID]receipt.Key{}, inFlight: make([]int, len(killed)), out: make([]int, len(killed))}
	for _, err := range l.errs {
		t.Error(err)
	}
	x.settled()
	x.readKeys()
	x.acknowledged(l.told)
	x.allTasks(l)
	x.balances()
	audit, err := c.Audit(t.Context())
	if err != nil || !audit.OK || audit.Debits != audit.Credits {
		t.Errorf("audit: %+v, %v", audit, err)
	}
	hubs := 0
	for _, k := range killed {
		if slices.ContainsFunc(k.victims, func(p *Process) bool { return p.Name == "hub" }) {
			hubs++
		}
	}
	slices.Sort(x.inFlight)
	slices.Sort(x.out)
	if len(killed) > 0 && (x.inFlight[0] == 0 || x.out[len(x.out)-1] == 0) {
		t.Errorf("kills hit nothing: %v tasks in flight, %v leases at the killed", x.inFlight, x.out)
	}
	t.Logf("%d rounds, %d of them killed the hub; %d tasks acknowledged, %d answers lost and asked for again; in flight at a kill: %s tasks, %s leases of the killed; %d receipts and verdicts accepted",
		len(killed), hubs, len(l.told), l.again.Load(), spread(x.inFlight), spread(x.out), x.receipts)
	if !t.Failed() {
		t.Logf("lost 0, ended twice 0, double charges %d, unverified payments %d, %d transfers, debits %s = credits %s", audit.DoubleCharged, audit.Unverified, audit.Transfers, audit.Debits, audit.Credits)
	}
}

func spread(sorted []int) string {
	if len(sorted) == 0 {
		return "no"
	}
	return fmt.Sprintf("%d (%d to %d)", sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1])
}

// settled waits until every task has ended and every payment is made.
func (x *checker) settled() {
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	var open []api.Account
	for ctx.Err() == nil {
		all, err := client.Collect(x.c.Accounts(ctx))
		open = slices.DeleteFunc(all, func(a api.Account) bool { return a.Held == 0 })
		if err == nil && len(open) == 0 {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * pollEvery):
		}
	}
	x.t.Errorf("not settled after %s: %+v", patience, open)
}

// readKeys takes what a stranger needs to check receipts offline.
func (x *checker) readKeys() {
	x.t.Helper()
	root, err := x.c.TrustedRoot(x.t.Context())
	if err == nil {
		x.logs, err = receipt.ParseTrustedRoot(root)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	keys, err := x.c.SigningKeys(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	if x.hub, err = receipt.ParseKey([]byte(keys.Hub.PublicKey)); err != nil {
		x.t.Fatal(err)
	}
	for _, k := range keys.Nodes {
		if x.nodes[core.NodeID(k.ID)], err = receipt.ParseKey([]byte(k.PublicKey)); err != nil {
			x.t.Fatal(err)
		}
	}
}

// acknowledged looks at every task that the client was told of.
func (x *checker) acknowledged(told map[string]core.TaskID) {
	type row struct {
		key string
		id  core.TaskID
	}
	rows := make(chan row)
	var wg sync.WaitGroup
	for range checkers {
		wg.Go(func() {
			for r := range rows {
				if err := x.task(r.id, r.key); err != nil {
					x.t.Errorf("%s, acknowledged for key %s: %v", r.id, r.key, err)
				}
			}
		})
	}
	for key, id := range told {
		rows <- row{key, id}
	}
	close(rows)
	wg.Wait()
}

func (x *checker) task(id core.TaskID, input string) error {
	ctx := x.t.Context()
	task, err := x.c.Task(ctx, id)
	if err != nil {
		return fmt.Errorf("lost: %w", err)
	}
	events, err := client.Collect(x.c.PastEvents(ctx, id, 0))
	if err != nil {
		return err
	}
	if err := endedOnce(&task, events); err != nil {
		return err
	}
	x.count(events)
	if task.State != "succeeded" {
		return fmt.Errorf("%s: %s", task.State, task.Reason)
	}
	result, err := x.c.PartResult(ctx, id, 0)
	if err != nil || string(result) != input {
		return fmt.Errorf("result %q, %w", result, err)
	}
	return x.charged(ctx, &task, core.DigestOf(result))
}

// endedOnce holds a task's state against its history.
func endedOnce(task *api.Task, events []api.Event) error {
	var ends []string
	for i, e := range events {
		if e.ID != int64(i+1) {
			return fmt.Errorf("event %d has ID %d: one is lost or doubled", i+1, e.ID)
		}
		state, ok := strings.CutPrefix(e.Type, "task.")
		if ok && (&api.Task{State: state}).Ended() {
			ends = append(ends, state)
		}
	}
	if len(ends) != 1 || ends[0] != task.State {
		return fmt.Errorf("is %s, and has ended as %v", task.State, ends)
	}
	return nil
}

// charged holds a task's cost against its leases and their receipts.
func (x *checker) charged(ctx context.Context, task *api.Task, result core.Digest) error {
	least, most := 1, 1
	if task.Spec != nil && task.Spec.Verification != nil && task.Spec.Verification.Method == "quorum" {
		least, most = task.Spec.Verification.Agree, replicas
	}
	passed := 0
	refs, err := client.Collect(x.c.Receipts(ctx, task.ID))
	if err != nil {
		return err
	}
	for _, r := range refs {
		if r.State != "passed" {
			continue
		}
		passed++
		if err := x.receipt(ctx, task.ID, r, result); err != nil {
			return fmt.Errorf("%s: %w", r.Lease, err)
		}
	}
	want := Price * core.Money(passed)
	if passed < least || passed > most || task.Cost.Paid != want || task.Cost.Paid+task.Cost.Refunded != task.Cost.Max {
		return fmt.Errorf("cost %+v for %d passed leases at %s, want %d to %d of them", task.Cost, passed, Price, least, most)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.receipts += 2 * passed
	return nil
}

// receipt checks a lease's receipt and verdict as a stranger would.
func (x *checker) receipt(ctx context.Context, task core.TaskID, r api.ReceiptRef, result core.Digest) error {
	bundle, err := x.c.Receipt(ctx, r.Lease)
	if err != nil {
		return err
	}
	if _, err := receipt.Check(bundle, receipt.Want{Logs: x.logs, Key: x.nodes[r.Node], Type: receipt.ExecutionType, Lease: r.Lease, Task: task, Result: result}); err != nil {
		return fmt.Errorf("receipt: %w", err)
	}
	if bundle, err = x.c.Verdict(ctx, r.Lease); err != nil {
		return err
	}
	if _, err := receipt.Check(bundle, receipt.Want{Logs: x.logs, Key: x.hub, Type: receipt.VerdictType, Lease: r.Lease, Task: task}); err != nil {
		return fmt.Errorf("verdict: %w", err)
	}
	return nil
}

// count notes at which kills a task, and which of its leases, were under way.
func (x *checker) count(events []api.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	begun, ended := events[0].Time, events[len(events)-1].Time
	for i, k := range x.killed {
		if begun.Before(k.at) && k.at.Before(ended) {
			x.inFlight[i]++
		}
		for _, p := range k.victims {
			x.out[i] += outAt(events, k.at, p.Name)
		}
	}
}

// outAt counts the leases that a node held at a moment, or all nodes for the hub.
func outAt(events []api.Event, at time.Time, process string) int {
	out := map[core.LeaseID]bool{}
	for _, e := range events {
		switch {
		case e.Time.After(at) || e.Lease == 0 || process != "hub" && string(e.Node) != process:
		case e.Type == "lease.offered":
			out[e.Lease] = true
		case e.Type == "lease.reported", e.Type == "lease.lost", e.Type == "lease.refused", e.Type == "lease.cancelled":
			delete(out, e.Lease)
		}
	}
	return len(out)
}

// allTasks looks for tasks that nobody has asked for.
func (x *checker) allTasks(l *load) {
	told := map[core.TaskID]string{}
	for key, id := range l.told {
		if other, twice := told[id]; twice {
			x.t.Errorf("keys %s and %s are one task %s", key, other, id)
		}
		told[id] = key
	}
	untold := 0
	for task, err := range x.c.Tasks(x.t.Context(), "") {
		if err != nil {
			x.t.Fatal(err)
		}
		x.paid += task.Cost.Paid
		if _, ok := told[task.ID]; !ok {
			untold++
		}
	}
	if unanswered := len(l.sent) - len(l.told); untold > unanswered {
		x.t.Errorf("%d tasks that the client was never told of, and %d submissions without an answer: some key became two tasks", untold, unanswered)
	}
}

// balances holds the accounts against what the tasks have cost.
func (x *checker) balances() {
	accounts, err := client.Collect(x.c.Accounts(x.t.Context()))
	if err != nil {
		x.t.Fatal(err)
	}
	var earned core.Money
	for _, a := range accounts {
		if strings.HasPrefix(string(a.ID), "owner-") {
			earned += a.Available
		}
		if a.ID == "admin" && a.Available != purse-x.paid {
			x.t.Errorf("the requester has %s left of %s, and its tasks have cost %s", a.Available, purse, x.paid)
		}
	}
	if earned != x.paid {
		x.t.Errorf("the nodes' owners have earned %s, and the tasks have cost %s", earned, x.paid)
	}
}
