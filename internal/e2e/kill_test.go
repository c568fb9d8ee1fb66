package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/examples/wasm"
	"atoll/internal/core"
)

var rounds = flag.Int("rounds", 3, "how often TestKill kills a process")

// TestKill runs tasks on a hub and four nodes, real processes all, and kills one
// of them at random, again and again. What the client was told is what must be
// there in the end: no acknowledged task lost, none charged twice.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes; run without -short")
	}
	net := startNetwork(t, 4)
	model := net.pushModel(t, wasm.Noop)

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	log := &ackLog{told: map[string]core.TaskID{}}
	for worker := range 8 {
		wg.Go(func() { submitLoop(ctx, net.client(t), model, worker, log) })
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for round := range *rounds {
		victim := net.all()[rng.IntN(len(net.all()))]
		before := log.count()
		t.Logf("round %d: SIGKILL %s after %d acknowledged tasks", round, victim.name, before)
		victim.kill(t)
		victim.start(t)
		// Go on once the network works again: some more tasks were acknowledged.
		waitFor(t, 60*time.Second, fmt.Sprintf("tasks to be accepted after round %d", round), func() bool { return log.count() >= before+8 })
	}
	stop()
	wg.Wait()
	c := net.client(t)
	t.Logf("%d tasks acknowledged", log.count())
	seen := map[core.TaskID]string{}
	for key, id := range log.told {
		if other, twice := seen[id]; twice {
			t.Errorf("keys %s and %s are one task %s", key, other, id)
		}
		seen[id] = key
		task, err := c.Wait(t.Context(), id)
		if err != nil {
			t.Errorf("acknowledged task %s is lost: %v", id, err)
			continue
		}
		if task.State != "succeeded" {
			t.Errorf("task %s is %s: %s", id, task.State, task.Reason)
		}
	}
	all, err := client.Collect(c.Tasks(t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	keys := len(log.sent)
	if len(all) > keys {
		t.Errorf("%d tasks for %d idempotency keys: some submission became two tasks", len(all), keys)
	}
	t.Cleanup(func() {
		if t.Failed() {
			accounts, _ := client.Collect(c.Accounts(context.Background()))
			t.Logf("accounts: %+v", accounts)
			now, _ := client.Collect(c.Tasks(context.Background(), ""))
			for _, x := range now {
				if x.Cost.Paid+x.Cost.Refunded != x.Cost.Max {
					leases, _ := client.Collect(c.Leases(context.Background(), x.ID))
					t.Logf("unsettled: %+v\n%+v", x, leases)
				}
			}
		}
	})
	waitFor(t, 30*time.Second, "all payments to be settled", func() bool {
		a, err := client.Collect(c.Accounts(t.Context()))
		return err == nil && held(a) == 0
	})
	audit, err := c.Audit(t.Context())
	if err != nil || !audit.OK {
		t.Errorf("audit: %+v, %v", audit, err)
	}
	t.Logf("audit: %d transfers, debits %s = credits %s, %d double charges, %d unverified", audit.Transfers, audit.Debits, audit.Credits, audit.DoubleCharged, audit.Unverified)
}

func held(accounts []api.Account) (sum core.Money) {
	for _, a := range accounts {
		sum += a.Held
	}
	return sum
}

// ackLog is the client's own memory of what it sent and what it was told.
type ackLog struct {
	mu   sync.Mutex
	sent []string
	told map[string]core.TaskID
}

func (l *ackLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.told)
}

// submitLoop submits tasks one after the other. A submission whose answer is
// lost is sent again under the same key until it is answered or time is up.
func submitLoop(ctx context.Context, c *client.Client, model string, worker int, log *ackLog) {
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprintf("kill-%d-%d", worker, i)
		log.mu.Lock()
		log.sent = append(log.sent, key)
		log.mu.Unlock()
		spec := &api.TaskSpec{
			Model: model, Input: []api.DataPointer{client.Inline([]byte(key))},
			Budget:     &api.Budget{MaxCost: core.Credit},
			Retry:      &api.Retry{MaxAttempts: 10},
			Disconnect: &api.Disconnect{LostAfter: api.Duration(2 * time.Second)},
		}
		if i%3 == 0 {
			spec.Verification = &api.Verification{Method: "quorum", Replicas: 3, Agree: 2}
		}
		for ctx.Err() == nil {
			reply, err := c.Submit(ctx, spec, client.SubmitOptions{Key: key, Wait: 2 * time.Second})
			if err == nil {
				log.mu.Lock()
				if had, ok := log.told[key]; ok && had != reply.ID {
					panic(fmt.Sprintf("key %s became %s and %s", key, had, reply.ID))
				}
				log.told[key] = reply.ID
				log.mu.Unlock()
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// TestNodeLoss kills a node that holds leases and times, from the outside, how
// soon its parts are known to be lost and run elsewhere.
func TestNodeLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes; run without -short")
	}
	net := startNetwork(t, 3)
	model := net.pushModel(t, wasm.Echo)
	c := net.client(t)
	nodes := net.nodes
	// The victim is the cheapest, and slow: it holds what is running.
	victim := nodes[0]
	victim.kill(t)
	victim.args = append(victim.args, "--inject-fault", "delay=60s", "--price", "0.001")
	victim.start(t)
	waitFor(t, 20*time.Second, "the slow node to join again", func() bool { return net.up(t) == 3 })
	reply, err := c.Submit(t.Context(), &api.TaskSpec{Model: model, Input: []api.DataPointer{client.Inline([]byte("hello"))}, Timeout: &api.Timeout{Execution: api.Duration(5 * time.Minute), Total: api.Duration(10 * time.Minute)}}, client.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	running := func(node string) bool {
		leases, err := client.Collect(c.Leases(t.Context(), reply.ID))
		return err == nil && len(leases) == 1 && string(leases[0].Node) == node
	}
	if !running(victim.name) {
		t.Skipf("the market explored: the lease went to another node than %s", victim.name)
	}
	died := time.Now()
	victim.kill(t)
	task, err := c.Wait(t.Context(), reply.ID)
	if err != nil || task.State != "succeeded" {
		t.Fatalf("task: %+v, %v", task, err)
	}
	events, err := client.Collect(c.Events(t.Context(), reply.ID, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Type == "lease.lost" || e.Type == "lease.offered" && e.Time.After(died) || e.Type == "task.succeeded" {
			t.Logf("%6d ms after SIGKILL: %s %s", e.Time.Sub(died).Milliseconds(), e.Type, e.Message)
		}
	}
}
