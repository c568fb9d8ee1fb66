package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"atoll/internal/blob"
	"atoll/internal/blob/swarm"
	"atoll/internal/core"
	"atoll/internal/identity"
)

// The processes of the benchmark, in this one: over TLS, two nodes have from the first
// holder what they have not from one another.
func TestWeightsMembers(t *testing.T) {
	t.Parallel()
	const size = 40*blob.ChunkSize - 7
	dir := t.TempDir()
	ca, err := identity.LoadOrCreateCA(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	order := weightsOrder{Size: size}
	var nodes []*weightsProcess
	var wg sync.WaitGroup
	for i := range 3 {
		home := filepath.Join(dir, fmt.Sprint("node-", i))
		if err := prepareMember(ca, home, core.NodeID(filepath.Base(home))); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if order.Digest, err = putNoise(t.Context(), home, size); err != nil {
				t.Fatal(err)
			}
		}
		in, give := io.Pipe()
		take, out := io.Pipe()
		wg.Go(func() {
			if err := WeightsMember(t.Context(), home, in, out); err != nil {
				t.Error(err)
			}
			_ = out.Close() // always succeeds
		})
		n := &weightsProcess{in: give, out: bufio.NewReader(take)}
		if err := n.hear(&n.address); err != nil {
			t.Fatal(err)
		}
		nodes, order.From = append(nodes, n), append(order.From, n.address)
	}
	for _, n := range nodes {
		if err := json.NewEncoder(n.in).Encode(order); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		if err := n.hear(&struct{}{}); err != nil {
			t.Fatal(err)
		}
	}
	var sent, taken int64
	for _, n := range nodes {
		var m swarm.Moved
		if err := n.in.Close(); err != nil {
			t.Fatal(err)
		}
		if err := n.hear(&m); err != nil {
			t.Fatal(err)
		}
		sent, taken = sent+m.Sent, taken+m.FromPeers
	}
	wg.Wait()
	if taken < 2*size || sent < taken {
		t.Errorf("%d bytes were sent and %d taken, of a file of %d to two nodes", sent, taken, size)
	}
	for _, n := range nodes {
		store, err := openWeights(filepath.Join(dir, string(n.address.Node)))
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Verify(t.Context(), order.Digest); err != nil {
			t.Errorf("%s: %v", n.address.Node, err)
		}
	}
}
