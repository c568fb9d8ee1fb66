package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// local is the node's own tiny HTTP server, for the provider's monitoring.
type local struct {
	http *http.Server
	done chan struct{}
}

// serve listens on loopback, and nowhere else.
func (n *Node) serve(ctx context.Context) (*local, error) {
	host, _, err := net.SplitHostPort(n.cfg.Listen)
	if err != nil || !isLoopback(host) {
		return nil, fmt.Errorf("listen on %.80q: want host:port on this machine's loopback", n.cfg.Listen)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", n.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.cfg.Gather, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", n.healthz)
	s := &local{
		http: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute},
		done: make(chan struct{}),
	}
	n.cfg.Log.Info("metrics", "url", "http://"+ln.Addr().String()+"/metrics")
	go func() {
		defer close(s.done)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			n.cfg.Log.Error("metrics are no longer served", "error", err)
		}
	}()
	return s, nil
}

func (s *local) close() {
	_ = s.http.Close() // readers of metrics can ask again
	<-s.done
}

// healthz says that the process lives, and whether the hub can hear it.
func (n *Node) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	status := n.conn.Status()
	// A reader that has gone away is no concern of ours.
	_ = json.NewEncoder(w).Encode(struct {
		Node      string    `json:"node"`
		Connected bool      `json:"connected"`
		Since     time.Time `json:"since"`
	}{string(n.cfg.Name), status.Connected, status.Since})
}
