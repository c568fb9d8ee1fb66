package agent

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what /metrics tells of an agent.
type metrics struct {
	runs            *prometheus.HistogramVec
	commit          prometheus.Histogram
	commitLeases    prometheus.Histogram
	refusedMessages prometheus.Counter

	holding, reports atomic.Int64
	counts           [4]atomic.Int64 // as in Counts
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		runs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "atoll_node_run_seconds", Help: "Time of one part in its engine.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"outcome"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "atoll_node_commit_seconds", Help: "Time to sign and store a batch of reports.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8),
		}),
		commitLeases: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "atoll_node_commit_leases", Help: "Leases in a batch of reports.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
		refusedMessages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_node_messages_refused_total", Help: "Lease batches not signed by the hub for this node.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	list := []prometheus.Collector{m.runs, m.commit, m.commitLeases, m.refusedMessages,
		gauge("atoll_node_leases_held", "Leases taken and not yet reported.", &m.holding),
		gauge("atoll_node_outbox_reports", "Reports that the hub has not acknowledged.", &m.reports)}
	for i, outcome := range []string{"accepted", "refused", "cancelled", "acknowledged"} {
		list = append(list, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "atoll_node_leases_total", Help: "Leases by what became of them here.",
			ConstLabels: prometheus.Labels{"outcome": outcome},
		}, func() float64 { return float64(m.counts[i].Load()) }))
	}
	var errs []error
	for _, c := range list {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

func gauge(name, help string, v *atomic.Int64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(v.Load()) })
}

// see copies what the Core knows, for readers on other goroutines.
func (m *metrics) see(c *Core) {
	m.holding.Store(int64(c.Holding()))
	m.reports.Store(int64(c.Unacknowledged()))
	n := c.Counts()
	for i, n := range [...]int64{n.Accepted, n.Refused, n.Cancelled, n.Acknowledged} {
		m.counts[i].Store(n)
	}
}

func (m *metrics) ran(out Outcome) {
	if out.Started.IsZero() {
		return // it never came to running
	}
	outcome := "done"
	switch {
	case out.Fault != "":
		outcome = "fault"
	case out.Failure != "":
		outcome = "failed"
	}
	m.runs.WithLabelValues(outcome).Observe(out.Finished.Sub(out.Started).Seconds())
}

func (m *metrics) stored(b *Batch, took time.Duration) {
	m.commit.Observe(took.Seconds())
	m.commitLeases.Observe(float64(b.Leases()))
}
