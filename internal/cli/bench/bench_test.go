package bench

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
)

func TestParseMode(t *testing.T) {
	t.Parallel()
	if m, err := parseMode("none"); err != nil || m.v != nil {
		t.Errorf("none: %+v, %v", m, err)
	}
	if m, err := parseMode("quorum:3"); err != nil || m.v.Replicas != 3 || m.v.Method != "quorum" {
		t.Errorf("quorum:3: %+v, %v", m, err)
	}
	for _, bad := range []string{"", "quorum", "quorum:", "quorum:1", "quorum:10", "spot-check", "quorum:3:2"} {
		if _, err := parseMode(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	s := sample{}
	for i := range 100 {
		s.each = append(s.each, time.Duration(i+1)*time.Millisecond)
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %g: %g, want %g", q, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	m := median([]Row{{TasksPerS: 30, P50Ms: 3}, {TasksPerS: 10, P50Ms: 1}, {TasksPerS: 20, P50Ms: 2}})
	if m.TasksPerS != 20 || m.P50Ms != 2 || len(m.Rounds) != 3 || m.Rounds[0] != 30 {
		t.Errorf("got %+v", m)
	}
}

// Load keeps as many in flight as asked for, submits each task once, and does
// not count one that failed.
func TestLoad(t *testing.T) {
	t.Parallel()
	var together sync.WaitGroup // the first eight, who meet in the hub
	together.Add(8)
	var mu sync.Mutex
	keys, failing := map[string]int{}, false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		keys[r.Header.Get("Idempotency-Key")]++
		first, state := len(keys) <= 8, "succeeded"
		if failing {
			state = "expired"
		}
		mu.Unlock()
		if first {
			together.Done()
			together.Wait()
		}
		_ = json.NewEncoder(w).Encode(api.SubmitReply{Task: api.Task{ID: core.TaskID(1), State: state}})
	}))
	defer srv.Close()
	c, err := client.New(client.Config{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := load(t.Context(), c, &api.TaskSpec{}, 50, 8)
	if err != nil || len(s.each) != 50 || s.each[0] <= 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	mu.Lock()
	if len(keys) != 50 || keys[""] > 0 {
		t.Errorf("%d keys for 50 tasks", len(keys))
	}
	failing = true
	mu.Unlock()
	if _, err := load(t.Context(), c, &api.TaskSpec{}, 5, 2); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a task that expired: %v", err)
	}
}

func TestProcessorTime(t *testing.T) {
	t.Parallel()
	own, family := ownCPU(), familyCPU(os.Getpid())
	if own == nil {
		t.Skip("the processor time of other processes is measured from /proc alone; run on Linux")
	}
	if family == nil || *family < *own {
		t.Errorf("family %v, own %v", family, *own)
	}
	if familyCPU(-1) != nil {
		t.Error("a process that is not there has a time")
	}
}
