package wasm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"

	"github.com/tetratelabs/wazero/sys"
)

// errOutput ends an instance that writes more than it may.
var errOutput = errors.New("result is too long")

// keepOutput is how large an output buffer may be to be used again.
const keepOutput = 1 << 20

// world is all that a part can see outside its own memory: the same for equal
// inputs, on every machine.
type world struct {
	stdin  bytes.Reader
	stdout output
	stderr tail
	clock  clock
	random random
}

func newWorld() *world { return &world{} }

func (w *world) reset(input []byte, limit uint64) {
	w.stdin.Reset(input)
	w.stdout = output{buf: w.stdout.buf[:0], limit: limit}
	w.stderr.n = 0
	w.clock.now = 0
	w.random = random{input: input}
}

func (w *world) shrink() {
	if cap(w.stdout.buf) > keepOutput {
		w.stdout.buf = nil
	}
}

// output keeps what is written to it, up to a limit. The write that would pass
// it does not return: a module could ignore an error and go on for ever.
type output struct {
	buf   []byte
	limit uint64
}

func (o *output) Write(b []byte) (int, error) {
	if uint64(len(b)) > o.limit-uint64(len(o.buf)) {
		panic(errOutput) // wazero ends the instance and returns this error
	}
	o.buf = append(o.buf, b...)
	return len(b), nil
}

// tail is a ring of the last bytes written to it.
type tail struct {
	ring [4 << 10]byte
	n    int // bytes written in all
}

func (t *tail) Write(b []byte) (int, error) {
	written := len(b)
	if over := len(b) - len(t.ring); over > 0 {
		t.n += over
		b = b[over:]
	}
	for len(b) > 0 {
		n := copy(t.ring[t.n%len(t.ring):], b)
		t.n += n
		b = b[n:]
	}
	return written, nil
}

func (t *tail) bytes() []byte {
	if t.n <= len(t.ring) {
		return t.ring[:t.n]
	}
	at := t.n % len(t.ring)
	return append(bytes.Clone(t.ring[at:]), t.ring[:at]...)
}

// clock counts nanoseconds since the start of the part. Reading it moves it, so
// that a module that waits for time to pass gets there.
type clock struct{ now int64 }

const (
	clockEpoch = 946_684_800 // 2000-01-01T00:00:00Z, in Unix seconds
	clockStep  = 1000
	// clockEnd keeps sleeps without end from overflowing: about 146 years.
	clockEnd = 1 << 62
)

func (c *clock) sleep(ns int64) {
	if ns > 0 {
		c.now = min(c.now+min(ns, clockEnd), clockEnd)
	}
}

func (c *clock) yield() { c.sleep(clockStep) }

func (c *clock) nanotime() int64 {
	c.sleep(clockStep)
	return c.now
}

func (c *clock) walltime() (sec int64, nsec int32) {
	ns := c.nanotime()
	return clockEpoch + ns/1e9, int32(ns % 1e9)
}

var _ sys.Walltime = (*clock)(nil).walltime

// random is ChaCha8 (C2SP chacha8rand) seeded with SHA-256 of the input. Few
// parts ask for random bytes, so that the seed is made when one does.
type random struct {
	input  []byte
	source *rand.ChaCha8
}

var _ io.Reader = (*random)(nil)

func (r *random) Read(b []byte) (int, error) {
	if r.source == nil {
		r.source = rand.NewChaCha8(sha256.Sum256(r.input))
	}
	return r.source.Read(b)
}
