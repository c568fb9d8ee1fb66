package control

import (
	"github.com/prometheus/client_golang/prometheus"

	"atoll/internal/core"
)

// Metrics are what the hub counts, economic figures included.
type Metrics struct {
	Submitted   prometheus.Counter
	BadMessages prometheus.Counter
}

// NewMetrics registers the hub's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Submitted:   prometheus.NewCounter(prometheus.CounterOpts{Name: "atoll_tasks_submitted_total", Help: "Tasks durably accepted."}),
		BadMessages: prometheus.NewCounter(prometheus.CounterOpts{Name: "atoll_node_messages_refused_total", Help: "Messages of nodes that were malformed, forged, unknown or too many."}),
	}
	r.MustRegister(m.Submitted, m.BadMessages)
	return m
}

// Register adds the gauges that are read from the running state.
func (c *Control) Register(r prometheus.Registerer) {
	gauge := func(name, help string, read func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	counter := func(name, help string, read func() float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, read))
	}
	locked := func(f func() int64) func() float64 {
		return func() float64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return float64(f())
		}
	}
	counter("atoll_store_syncs_total", "Transactions committed, each with one fsync.", func() float64 { n, _ := c.store.Syncs(); return float64(n) })
	counter("atoll_store_jobs_total", "Jobs committed in those transactions.", func() float64 { _, n := c.store.Syncs(); return float64(n) })
	counter("atoll_tasks_ended_total", "Tasks that reached a final state.", locked(func() int64 { return c.stats.ended }))
	counter("atoll_leases_total", "Leases offered.", locked(func() int64 { return c.stats.leases }))
	counter("atoll_leases_passed_total", "Leases whose result was verified.", locked(func() int64 { return c.stats.passed }))
	counter("atoll_leases_rejected_total", "Leases whose result was refused.", locked(func() int64 { return c.stats.rejected }))
	counter("atoll_leases_lost_total", "Leases whose node was lost or too slow.", locked(func() int64 { return c.stats.lost }))
	// Summed as whole micro-credits and divided once: a sum of fractions drifts.
	counter("atoll_paid_credits_total", "Credits paid for verified work.", func() float64 { return locked(func() int64 { return int64(c.stats.paid) })() / float64(core.Credit) })
	gauge("atoll_tasks_open", "Tasks not ended, or not settled.", locked(func() int64 { return int64(len(c.tasks)) }))
	gauge("atoll_leases_out", "Leases that nodes hold.", locked(func() int64 { return int64(len(c.leases)) }))
	gauge("atoll_payouts_waiting", "Verified payments that wait for a checkpoint.", locked(func() int64 { return int64(len(c.payouts)) }))
	gauge("atoll_log_size", "Leaves under the newest checkpoint.", locked(func() int64 { return c.published.Size }))
	gauge("atoll_nodes_up", "Nodes heard of within two seconds.", locked(func() (n int64) {
		for _, o := range c.offers {
			if o.Up {
				n++
			}
		}
		return n
	}))
}
