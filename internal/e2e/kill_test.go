package e2e

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"atoll/examples/wasm"
)

var rounds = flag.Int("rounds", 3, "how often TestKill kills")

const (
	workers = 12
	window  = 24 // tasks that a worker leaves unfinished before it waits
	// leaseTakes keeps leases at the nodes long enough to be hit.
	leaseTakes = "30ms"
	replicas   = 3 // of every third task
	// patience bounds every wait of this test.
	patience = 2 * time.Minute
)

// TestKill runs tasks on a hub and four nodes, real processes all, and kills the
// hub, a node, or both at once, again and again and at random moments, with some
// hundred leases out. What the client was told is what must be there in the end;
// see checker for what that means.
//
// That it finds what it is made for can be tried with a planted bug:
//
//	go test -tags plant_dedupe ./internal/e2e -run Kill -rounds 20
func TestKill(t *testing.T) {
	cfg := testConfig(t, 4)
	cfg.NodeArgs = []string{"--inject-fault", "delay=" + leaseTakes, "--slots", "4"}
	net, c := startTest(t, cfg)
	model, err := PushModel(t.Context(), c, wasm.Echo)
	if err != nil {
		t.Fatal(err)
	}
	load := startLoad(t, net, model)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var killed []kill
	for range *rounds {
		// Some more tasks were finished: all works again, and much is under way.
		load.await(t, 8+rng.IntN(56))
		k := kill{victims: pick(net, rng)}
		if rng.IntN(2) == 0 { // before what was just said can have become true
			load.atNextAnswer(t, func() { k.strike(t) })
		} else { // anywhere
			time.Sleep(time.Duration(rng.IntN(40_000)) * time.Microsecond)
			k.strike(t)
		}
		for _, p := range k.victims {
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
		}
		killed = append(killed, k)
	}
	load.await(t, 8)
	load.stop()
	check(t, c, load, killed)
}

// kill is one round: who died, and when.
type kill struct {
	victims []*Process
	at      time.Time
}

func (k *kill) strike(t *testing.T) {
	k.at = time.Now()
	for _, p := range k.victims {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	}
}

// pick says who dies: the hub, any node, or the hub and a node together.
func pick(n *Network, rng *rand.Rand) []*Process {
	node := n.Nodes[rng.IntN(len(n.Nodes))]
	switch rng.IntN(5) {
	case 0, 1:
		return []*Process{n.Hub}
	case 2:
		return []*Process{n.Hub, node}
	}
	return []*Process{node}
}
