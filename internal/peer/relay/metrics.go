package relay

import "github.com/prometheus/client_golang/prometheus"

// metrics are what an operator pays for.
type metrics struct {
	bytes   prometheus.Counter
	refusal *prometheus.CounterVec
}

// newMetrics registers the relay's metrics with r, if there is one.
func newMetrics(r prometheus.Registerer, h *Hub) *metrics {
	m := &metrics{
		bytes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "atoll_relay_bytes_total", Help: "Bytes relayed between nodes, in both directions."}),
		refusal: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_relay_refused_total", Help: "Connections that were not relayed."}, []string{"why"}),
	}
	if r == nil {
		return m
	}
	gauge := func(name, help string, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			h.mu.Lock()
			defer h.mu.Unlock()
			return float64(read())
		})
	}
	r.MustRegister(m.bytes, m.refusal,
		gauge("atoll_relay_nodes", "Nodes that can be reached through the relay.", func() int { return len(h.attached) }),
		gauge("atoll_relay_circuits", "Connections between nodes that are relayed now.", func() int { return len(h.circuits) }))
	return m
}

func (m *metrics) refused(why string) { m.refusal.WithLabelValues(why).Inc() }
