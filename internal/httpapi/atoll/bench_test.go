package atoll_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"atoll/internal/auth"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/telemetry"
)

func benchHandler(tb testing.TB) http.Handler {
	tb.Helper()
	tel, err := telemetry.Setup(tb.Context(), telemetry.Config{Writer: io.Discard, Level: slog.LevelInfo})
	if err != nil {
		tb.Fatal(err)
	}
	h, err := atoll.New(atoll.Config{
		Hub: &instantHub{fakeHub: newFakeHub()}, Log: tel.Logger, Tracer: tel.Tracer,
		KeyRate: auth.Rate{PerSecond: 1e9, Burst: 1e9},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// BenchmarkHandler is POST submit-task?wait without net/http around it.
func BenchmarkHandler(b *testing.B) {
	h := benchHandler(b)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), "POST", "/v1/submit-task?wait=30s", strings.NewReader(minimal))
		r.Header.Set("Authorization", "Bearer ann-key")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}

// BenchmarkServer is POST submit-task?wait over loopback from another process,
// 64 in flight: cpu-µs/op is the server's own CPU time, net/http included.
func BenchmarkServer(b *testing.B) {
	srv := httptest.NewServer(benchHandler(b))
	defer srv.Close()
	client := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestLoadClient$")
	client.Env = append(os.Environ(), "LOAD_URL="+srv.URL, "LOAD_N="+strconv.Itoa(b.N))
	before := cpuTime()
	if out, err := client.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// TestLoadClient is the other process of BenchmarkServer.
func TestLoadClient(t *testing.T) {
	url := os.Getenv("LOAD_URL")
	n, err := strconv.Atoi(os.Getenv("LOAD_N"))
	if url == "" || err != nil {
		t.Skip("the load of a benchmark, which starts it; run go test -bench Server")
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	work := make(chan struct{}, 64)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range work {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/submit-task?wait=30s", strings.NewReader(minimal))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer ann-key")
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Idempotency-Key", "0123456789abcdef")
				res, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("%s, %v", res.Status, err)
				}
			}
		})
	}
	for range n {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
}
