package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/api"
	"atoll/client"
)

// waitLimit is far beyond what a no-op task takes.
const waitLimit = 30 * time.Second

// sample is what a round of load has shown.
type sample struct {
	took time.Duration
	each []time.Duration // of each task, ascending
}

// quantile returns a quantile in ms: the smallest latency that a share q of all
// tasks did not exceed.
func (s *sample) quantile(q float64) float64 {
	i := int(math.Ceil(q*float64(len(s.each)))) - 1
	return float64(s.each[max(i, 0)]) / float64(time.Millisecond)
}

// load submits n tasks with so many in flight and waits for each one's result.
func load(ctx context.Context, c *client.Client, spec *api.TaskSpec, n, inFlight int) (*sample, error) {
	body, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	s := &sample{each: make([]time.Duration, n)}
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range min(inFlight, n) {
		g.Go(func() error {
			for {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return nil
				}
				sent := time.Now()
				t, err := c.SubmitJSON(ctx, body, client.SubmitOptions{Wait: waitLimit})
				if err != nil {
					return err
				}
				if t.State != "succeeded" {
					return fmt.Errorf("%s is %s: %s", t.ID, t.State, t.Reason)
				}
				s.each[i] = time.Since(sent)
			}
		})
	}
	err = g.Wait()
	s.took = time.Since(start)
	slices.Sort(s.each)
	return s, err
}
