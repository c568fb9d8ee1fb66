//go:build unix

package wasm

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"atoll/internal/engine"
	"atoll/internal/engine/wasm/asm"
)

// cpuOf is the CPU time of this process and of its live children.
func cpuOf(e *Engine) time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	all := time.Duration(unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime))
	e.sched.mu.Lock()
	defer e.sched.mu.Unlock()
	for c := range e.sched.all {
		d, _ := c.proc.CPU()
		all += d
	}
	return all
}

// BenchmarkRun reports the CPU time of parent and children per part, beside the
// wall-clock time.
func BenchmarkRun(b *testing.B) {
	for _, bc := range []struct {
		name     string
		module   []byte
		input    []byte
		inFlight int
	}{
		{"noop/1", asm.Noop(), nil, 1},
		{"noop/16", asm.Noop(), nil, 16},
		{"noop/64", asm.Noop(), nil, 64},
		{"echo200B/1", asm.Echo(), make([]byte, 200), 1},
		{"echo200B/64", asm.Echo(), make([]byte, 200), 64},
		{"echo1MiB/1", asm.Echo(), bytes.Repeat([]byte{7}, 1<<20), 1},
	} {
		b.Run(bc.name, func(b *testing.B) {
			e := newEngine(b, Config{})
			in := load(b, e, bc.module)
			part := engine.Input{Data: bc.input, Params: map[string]string{"k": "v"}}
			if _, _, err := in.Run(b.Context(), part); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuOf(e)
			var g errgroup.Group
			for w := range bc.inFlight {
				g.Go(func() error {
					for i := w; i < b.N; i += bc.inFlight {
						if _, _, err := in.Run(b.Context(), part); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(cpuOf(e)-before)/float64(b.N), "cpu-ns/part")
		})
	}
}

// BenchmarkLoad is a module that nobody has loaded before: a process, the
// compiler and the end of the one before it.
func BenchmarkLoad(b *testing.B) {
	e := newEngine(b, Config{Children: 1})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m := modelOf(b, append(asm.Noop(), 0, 3, 1, 'x', byte(i)), "acme")
		in, err := e.Load(b.Context(), m)
		if err != nil {
			b.Fatal(err)
		}
		_ = in.Close(b.Context())
	}
}
