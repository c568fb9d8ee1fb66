package simtest

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds       = flag.Int("seeds", 150, "how many seeds TestSeeds plays")
	first       = flag.Uint64("first", 1, "the first of them")
	one         = flag.Uint64("seed", 0, "play this seed only, and show its whole trace with -v")
	stopAtFirst = flag.Bool("stop-at-first", false, "stop at the first seed that fails")
)

// memoryDir makes an empty directory, in memory where there is such a place:
// the simulated disk loses nothing that was written, so it need not be a real one.
func memoryDir(t *testing.T) string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp(shm, "atoll-simtest-"); err == nil {
			t.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			return dir
		}
	}
	return t.TempDir()
}

func newLab(t *testing.T) *Lab {
	lab, err := NewLab(memoryDir(t))
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

func report(t *testing.T, r Result) {
	t.Errorf("seed %d: %s\nthe last steps:\n%s\nplay it again with: go test ./internal/simtest -run TestSeeds -seed %d -v",
		r.Seed, strings.Join(r.Violations, "\n\t"), strings.Join(r.Tail, "\n"), r.Seed)
}

// TestSeeds plays many runs, each from its own seed.
func TestSeeds(t *testing.T) {
	lab := newLab(t)
	if *one != 0 {
		var out io.Writer
		if testing.Verbose() {
			out = os.Stdout
		}
		r, err := lab.Run(t.Context(), Config{Seed: *one, Verbose: out})
		if err != nil {
			t.Fatal(err)
		}
		if r.Failed() {
			report(t, r)
		}
		return
	}
	if testing.Short() {
		*seeds = min(*seeds, 40)
	}
	var next, events, tasks, succeeded, paid, together, caught, crashes, reboots atomic.Int64
	var stop atomic.Bool
	begin := time.Now()
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stop.Load() {
				i := next.Add(1) - 1
				if i >= int64(*seeds) {
					return
				}
				r, err := lab.Run(t.Context(), Config{Seed: *first + uint64(i)})
				if err != nil {
					t.Error(err)
					return
				}
				if r.Failed() {
					report(t, r)
					if *stopAtFirst {
						stop.Store(true)
					}
				}
				events.Add(int64(r.Events))
				tasks.Add(int64(r.Tasks))
				succeeded.Add(int64(r.Succeeded))
				paid.Add(int64(r.Paid))
				together.Add(int64(r.Together))
				caught.Add(int64(r.Caught))
				crashes.Add(int64(r.Crashes))
				reboots.Add(int64(r.Reboots))
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	played := min(next.Load(), int64(*seeds))
	t.Logf("%d seeds in %s (%.1f a second): %d events, %d tasks acknowledged, %d succeeded, %d leases paid, %d results of several nodes of which %d were caught, %d hub crashes, %d node crashes",
		played, took.Round(time.Millisecond), float64(played)/took.Seconds(), events.Load(), tasks.Load(), succeeded.Load(), paid.Load(), together.Load(), caught.Load(), crashes.Load(), reboots.Load())
	// A simulation in which nothing happens finds nothing.
	if played == int64(*seeds) && played >= 40 && (succeeded.Load() < 3*played || paid.Load() < 5*played || together.Load() < played/2 || caught.Load() < played/60 || crashes.Load() < played || reboots.Load() < played) {
		t.Errorf("too little has happened in these runs to tell anything")
	}
}

// TestReplay: a seed is one run, to the last step.
func TestReplay(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	for seed := uint64(1); seed <= 6; seed++ {
		var traces [2]strings.Builder
		var results [2]Result
		for i := range traces {
			r, err := lab.Run(t.Context(), Config{Seed: seed, Verbose: &traces[i]})
			if err != nil {
				t.Fatal(err)
			}
			results[i] = r
		}
		if results[0].Trace != results[1].Trace || results[0].Trace == "" {
			t.Errorf("seed %d: two runs differ: %s", seed, firstDifference(traces[0].String(), traces[1].String()))
		}
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("at step %d\n%s\n%s", i, x[i], y[i])
		}
	}
	return fmt.Sprintf("one has %d steps, the other %d", len(x), len(y))
}
