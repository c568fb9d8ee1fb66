package peer

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Conditions are what a line between two places is like.
type Conditions struct {
	RTT       time.Duration // there and back
	Bandwidth int64         // bits a second in each direction; 0: no limit
}

// Memory is a network in one process: a carrier for tests and measurements, in which
// lines are as long and as thin as they are told to be. It uses package time alone,
// so that it also runs on the clock of testing/synctest.
type Memory struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
	lines     map[[2]string]Conditions
	conns     map[[2]string][]*memoryConn
}

// NewMemory returns a network without places.
func NewMemory() *Memory {
	return &Memory{listeners: map[string]*memoryListener{}, lines: map[[2]string]Conditions{}, conns: map[[2]string][]*memoryConn{}}
}

// Line sets what connections between two places, made from now on, are like.
func (m *Memory) Line(a, b string, c Conditions) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines[line(a, b)] = c
}

func line(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

// Cut breaks all connections between two places.
func (m *Memory) Cut(a, b string) {
	m.mu.Lock()
	conns := m.conns[line(a, b)]
	delete(m.conns, line(a, b))
	m.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // always succeeds
	}
}

// Hold has all connections of a place stand still, as if its process were stopped:
// what is sent is on its way until release is called.
func (m *Memory) Hold(at string) (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var held []*memoryConn
	for ends, conns := range m.conns {
		if ends[0] == at || ends[1] == at {
			held = append(held, conns...)
		}
	}
	hold := func(yes bool) {
		for _, c := range held { // both ends of each are there
			c.read.change(func(h *half) { h.held = yes })
		}
	}
	hold(true)
	return func() { hold(false) }
}

// Listen takes connections at a place.
func (m *Memory) Listen(at string) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listeners[at] != nil {
		return nil, fmt.Errorf("listen %s: somebody does already", at)
	}
	l := &memoryListener{m: m, at: at, conns: make(chan net.Conn), closed: make(chan struct{})}
	m.listeners[at] = l
	return l, nil
}

// Dialler dials from a place.
func (m *Memory) Dialler(from string) Dial {
	return func(ctx context.Context, at string) (net.Conn, error) {
		m.mu.Lock()
		l, c := m.listeners[at], m.lines[line(from, at)]
		m.mu.Unlock()
		if l == nil {
			return nil, fmt.Errorf("dial %s: nobody listens", at)
		}
		there, back := newHalf(c), newHalf(c)
		mine := &memoryConn{read: back, write: there, local: memoryAddr(from), remote: memoryAddr(at)}
		theirs := &memoryConn{read: there, write: back, local: memoryAddr(at), remote: memoryAddr(from)}
		m.mu.Lock()
		m.conns[line(from, at)] = append(m.conns[line(from, at)], mine, theirs)
		m.mu.Unlock()
		select {
		case l.conns <- theirs:
			return mine, nil
		case <-l.closed:
			return nil, fmt.Errorf("dial %s: nobody listens any more", at)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

type memoryListener struct {
	m      *Memory
	at     string
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		delete(l.m.listeners, l.at)
		l.m.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *memoryListener) Addr() net.Addr { return memoryAddr(l.at) }

type memoryAddr string

func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }

type memoryConn struct {
	read, write   *half
	local, remote memoryAddr
}

func (c *memoryConn) Read(b []byte) (int, error)  { return c.read.Read(b) }
func (c *memoryConn) Write(b []byte) (int, error) { return c.write.Write(b) }
func (c *memoryConn) LocalAddr() net.Addr         { return c.local }
func (c *memoryConn) RemoteAddr() net.Addr        { return c.remote }

func (c *memoryConn) Close() error {
	c.read.close()
	c.write.close()
	return nil
}

func (c *memoryConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.read.change(func(h *half) { h.readBy = t })
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.write.change(func(h *half) { h.writeBy = t })
	return nil
}

const (
	maxPiece = 16 << 10
	minRoom  = 256 << 10
)

// half is one direction of a connection: what was written arrives after half the
// round trip, and no faster than the line is wide.
type half struct {
	c    Conditions
	room int // bytes on the way and waiting to be read

	mu              sync.Mutex
	changed         chan struct{} // closed, and made anew, when anything has changed
	queue           []piece
	size            int
	free            time.Time // when all that was written will have left
	closed, held    bool
	readBy, writeBy time.Time
}

type piece struct {
	data []byte
	due  time.Time
}

func newHalf(c Conditions) *half {
	h := &half{c: c, room: minRoom, changed: make(chan struct{})}
	if c.Bandwidth > 0 { // what the line itself holds, twice
		h.room += int(2 * c.Bandwidth / 8 * int64(c.RTT) / int64(time.Second))
	}
	return h
}

func (h *half) change(f func(*half)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *half) close() { h.change(func(h *half) { h.closed = true }) }

// wait returns when something may have changed, at the latest at the given times,
// of which zero ones do not count. It is called, and returns, with mu held.
func (h *half) wait(by ...time.Time) {
	var first time.Time
	for _, t := range by {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	changed := h.changed
	h.mu.Unlock()
	defer h.mu.Lock()
	if first.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(first))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (h *half) Read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		var due time.Time
		switch {
		case past(h.readBy):
			return 0, os.ErrDeadlineExceeded
		case h.closed: // as after a reset: what was on the way is lost
			return 0, io.EOF
		case h.held:
		case len(h.queue) > 0 && !h.queue[0].due.After(time.Now()):
			p := &h.queue[0]
			n := copy(b, p.data)
			if p.data = p.data[n:]; len(p.data) == 0 {
				h.queue = h.queue[1:]
			}
			h.size -= n
			close(h.changed)
			h.changed = make(chan struct{})
			return n, nil
		case len(h.queue) > 0:
			due = h.queue[0].due
		}
		h.wait(due, h.readBy)
	}
}

func (h *half) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	written := 0
	for written < len(b) {
		switch {
		case past(h.writeBy):
			return written, os.ErrDeadlineExceeded
		case h.closed:
			return written, net.ErrClosed
		case h.size >= h.room:
			h.wait(h.writeBy)
			continue
		}
		n := min(len(b)-written, maxPiece)
		h.push(b[written : written+n])
		written += n
	}
	return written, nil
}

func (h *half) push(b []byte) {
	if now := time.Now(); h.free.Before(now) {
		h.free = now
	}
	if h.c.Bandwidth > 0 {
		h.free = h.free.Add(time.Duration(int64(len(b)) * 8 * int64(time.Second) / h.c.Bandwidth))
	}
	h.queue = append(h.queue, piece{append([]byte(nil), b...), h.free.Add(h.c.RTT / 2)})
	h.size += len(b)
	close(h.changed)
	h.changed = make(chan struct{})
}
