package sandbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	maybeHelper()
	MaybeWorker(
		Worker{Name: "echo", Serve: echo},
		Worker{Name: "hog", Serve: hog},
		Worker{Name: "spin", Serve: func(c *Conn) error { _, _ = c.Next(); spin(); return nil }},
		Worker{Name: "panic", Serve: func(c *Conn) error { _, _ = c.Next(); panic("told to\x1b[31m") }},
	)
	os.Exit(m.Run())
}

func echo(c *Conn) error {
	for {
		f, err := c.Next()
		if err != nil {
			return err
		}
		if err := c.Put(f.Kind, f.Body); err != nil {
			return err
		}
		if err := c.Flush(); err != nil {
			return err
		}
	}
}

// hog takes memory until it is stopped, and touches all of it.
func hog(c *Conn) error {
	_, _ = c.Next()
	var kept [][]byte
	for range 1 << 10 {
		b := make([]byte, 16<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	runtime.KeepAlive(kept)
	return c.Put(1, []byte("16 GiB were had"))
}

func spin() {
	for i := 0; ; i++ {
		runtime.KeepAlive(i)
	}
}

func limits() Limits { return Limits{Memory: 256 << 20, CPU: 30 * time.Second, Frame: 1 << 20} }

func start(t *testing.T, worker string, l Limits) *Process {
	t.Helper()
	p, err := Start(t.Context(), Config{Worker: worker, Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func send(t *testing.T, p *Process, kind byte, body []byte) {
	t.Helper()
	if err := errors.Join(p.Put(kind, body), p.Flush()); err != nil {
		t.Fatal(err)
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	p := start(t, "echo", limits())
	big := bytes.Repeat([]byte("atoll"), 200<<10/5)
	for _, body := range [][]byte{nil, []byte("part"), big, []byte("small again")} {
		send(t, p, 7, body)
		f, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind != 7 || !bytes.Equal(f.Body, body) {
			t.Fatalf("got kind %d, %d bytes; want 7, %d", f.Kind, len(f.Body), len(body))
		}
	}
}

func TestProbe(t *testing.T) {
	t.Setenv("ATOLL_SECRET", "must not reach a child")
	r, err := Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	for _, a := range r.Tried {
		t.Logf("%s: denied %v: %s", a.What, a.Denied, a.Detail)
		// Without seccomp the rest is only reported.
		if !a.Denied && (r.Seccomp || a.What == "see the parent's environment") {
			t.Errorf("a child could %s: %s", a.What, a.Detail)
		}
	}
	if len(r.Tried) < 6 {
		t.Errorf("%d attempts, want at least 6", len(r.Tried))
	}
	if !r.Seccomp && len(r.Missing) == 0 {
		t.Error("no seccomp, and nothing is reported missing")
	}
	if runtime.GOOS == "linux" && !r.ParentDeath {
		t.Error("a child on linux outlives its parent")
	}
}

func TestReportCovers(t *testing.T) {
	t.Parallel()
	full := Report{Seccomp: true, Landlock: 7, NoNewPrivs: true, Rlimits: []string{"as", "cpu"}}
	for name, weaken := range map[string]func(*Report){
		"seccomp":  func(r *Report) { r.Seccomp = false },
		"landlock": func(r *Report) { r.Landlock = 6 },
		"privs":    func(r *Report) { r.NoNewPrivs = false },
		"rlimit":   func(r *Report) { r.Rlimits = []string{"cpu"} },
	} {
		weak := full
		weaken(&weak)
		if err := weak.Covers(full); !errors.Is(err, ErrWeaker) {
			t.Errorf("%s: got %v, want ErrWeaker", name, err)
		}
		if err := full.Covers(weak); err != nil {
			t.Errorf("%s: a full report does not cover a weaker one: %v", name, err)
		}
	}
}

func TestRequire(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Config{Worker: "echo", Limits: limits(), Require: Report{Landlock: 1 << 20}})
	if !errors.Is(err, ErrWeaker) {
		t.Errorf("got %v, want ErrWeaker", err)
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	p := start(t, "hog", limits())
	if !strings.Contains(strings.Join(p.Report().Rlimits, " "), "as") {
		t.Skip("children have no limit on address space here (no RLIMIT_AS); run on Linux")
	}
	send(t, p, 1, nil)
	if f, err := p.Next(); err == nil {
		t.Fatalf("the child says %q", f.Body)
	}
	exit := p.Wait()
	// The race detector's allocator has its own words for it.
	if !strings.Contains(exit.Stderr, "memory") && !strings.Contains(exit.Stderr, "address space") {
		t.Errorf("exit %q, stderr %q; want the runtime to say that memory is out", exit.Status, exit.Stderr)
	}
}

func TestCPULimit(t *testing.T) {
	t.Parallel()
	l := limits()
	l.CPU = time.Second
	p := start(t, "spin", l)
	if !strings.Contains(strings.Join(p.Report().Rlimits, " "), "cpu") {
		t.Skip("children have no limit on CPU time here (no RLIMIT_CPU); run on Linux or macOS")
	}
	send(t, p, 1, nil)
	if _, err := p.Next(); err == nil {
		t.Fatal("the child answered")
	}
	if exit := p.Wait(); exit.Cause != nil || exit.Code == 0 {
		t.Errorf("exit %+v, want the kernel to have ended it", exit)
	}
	if cpu, ok := processCPU(os.Getpid()); ok && cpu <= 0 {
		t.Errorf("CPU time of this process is %s", cpu)
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	p := start(t, "spin", limits())
	send(t, p, 1, nil)
	late := errors.New("late")
	go p.Kill(late)
	if _, err := p.Next(); err == nil {
		t.Fatal("the child answered")
	}
	p.Kill(errors.New("second reason"))
	if got := p.Wait().Err(); !errors.Is(got, late) {
		t.Errorf("exit for %v, want the first reason", got)
	}
}

func TestPanicIsReportedPrintable(t *testing.T) {
	t.Parallel()
	p := start(t, "panic", limits())
	send(t, p, 1, nil)
	if _, err := p.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want EOF", err)
	}
	err := p.Wait().Err()
	if !errors.Is(err, ErrExited) || !strings.Contains(err.Error(), "told to") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %q, want ErrExited with printable words", err)
	}
}

func TestNoRecursion(t *testing.T) {
	t.Setenv(marker, "1")
	if _, err := Start(t.Context(), Config{Worker: "echo", Limits: limits()}); err == nil || !strings.Contains(err.Error(), "MaybeWorker") {
		t.Errorf("a worker that never became one starts workers: %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	if _, err := Start(t.Context(), Config{Worker: "nobody", Limits: limits()}); err == nil || !strings.Contains(err.Error(), "no worker is named") {
		t.Errorf("unknown worker: got %v", err)
	}
	if _, err := Start(t.Context(), Config{Worker: "echo"}); err == nil {
		t.Error("no limits: started")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Config{Worker: "echo", Limits: limits()}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled context: got %v", err)
	}
}

func TestFrameErrors(t *testing.T) {
	t.Parallel()
	frame := func(size uint32, body string) string {
		var h [5]byte
		binary.LittleEndian.PutUint32(h[:], size)
		h[4] = 1
		return string(h[:]) + body
	}
	for name, tc := range map[string]struct {
		in   string
		want error
	}{
		"nothing":       {"", io.EOF},
		"half a header": {"\x01\x00", io.ErrUnexpectedEOF},
		"header alone":  {frame(3, ""), io.ErrUnexpectedEOF},
		"half a body":   {frame(3, "ab"), io.ErrUnexpectedEOF},
		"too long":      {frame(101, strings.Repeat("x", 101)), ErrFrame},
		"4 GiB":         {frame(1<<32-1, "x"), ErrFrame},
	} {
		if _, err := NewReader(strings.NewReader(tc.in), 100).Next(); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	if err := NewWriter(io.Discard, 3).Put(1, []byte("ab"), []byte("cd")); !errors.Is(err, ErrFrame) {
		t.Errorf("long body written: %v", err)
	}
}

func TestFramesRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bodies := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 20).Draw(t, "bodies")
		var pipe bytes.Buffer
		w := NewWriter(&pipe, 300)
		for i, b := range bodies {
			cut := rapid.IntRange(0, len(b)).Draw(t, "cut")
			if err := w.Put(byte(i), b[:cut], b[cut:]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		r := NewReader(iotest.OneByteReader(&pipe), 300)
		for i, b := range bodies {
			f, err := r.Next()
			if err != nil || f.Kind != byte(i) || !bytes.Equal(f.Body, b) {
				t.Fatalf("frame %d: kind %d, %x, %v; want %x", i, f.Kind, f.Body, err, b)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last frame: %v", err)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{2, 0, 0, 0, 9, 'h', 'i', 0, 0, 0, 0, 1})
	f.Add([]byte{255, 255, 255, 255, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 16
		r := NewReader(bytes.NewReader(b), limit)
		var again bytes.Buffer
		w := NewWriter(&again, limit)
		used := 0
		for {
			frame, err := r.Next()
			if err != nil {
				break
			}
			used += headerSize + len(frame.Body)
			if err := w.Put(frame.Kind, frame.Body); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), b[:used]) {
			t.Error("what was read is written differently")
		}
	})
}

func TestReportJSON(t *testing.T) {
	t.Parallel()
	r := start(t, "echo", limits()).Report()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 8<<10 || !strings.HasPrefix(r.OS, runtime.GOOS+"/") {
		t.Errorf("report of %d bytes on %q", len(b), r.OS)
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	var h head
	_, _ = h.Write([]byte("fatal error: \x00\nwhy\n\ngoroutine 1"))
	if got, want := h.String(), "fatal error: ?\nwhy"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for range 3000 {
		_, _ = h.Write([]byte("0123456789"))
	}
	if len(h.buf) != headSize {
		t.Errorf("%d bytes kept, want %d", len(h.buf), headSize)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	p, err := Start(b.Context(), Config{Worker: "echo", Limits: limits()})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	body := make([]byte, 200)
	for b.Loop() {
		if err := errors.Join(p.Put(1, body), p.Flush()); err != nil {
			b.Fatal(err)
		}
		if _, err := p.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		p, err := Start(b.Context(), Config{Worker: "echo", Limits: limits()})
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
