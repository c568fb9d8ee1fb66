// Package conns bounds how many connections a server holds: in total, and from
// one address, so that one caller cannot take them all. What is over is refused
// in words where the server speaks plain HTTP, and closed where it speaks TLS.
//
// It bounds connections alone; how fast requests may come is package auth's.
package conns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Config of a listener. Zero limits have defaults.
type Config struct {
	Total      int  // connections held at once; 16384
	PerAddress int  // of them from one IPv4 address or IPv6 /64 network, loopback included; 4096
	Plain      bool // the server speaks HTTP without TLS: refuse in words
}

const (
	DefaultTotal      = 16 << 10
	DefaultPerAddress = 4 << 10

	// maxRefusals are said at once. More are closed without a word.
	maxRefusals   = 64
	refusalWithin = time.Second
)

const refusal = `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"%s","hint":"close connections that are not needed, or try again later; the operator can allow more: atoll hub --max-connections"}`

// Limit returns a listener over ln that keeps the limits.
func Limit(ln net.Listener, c Config) (net.Listener, error) {
	if c.Total == 0 {
		c.Total = DefaultTotal
	}
	if c.PerAddress == 0 {
		c.PerAddress = min(DefaultPerAddress, c.Total)
	}
	if c.PerAddress < 1 || c.Total < c.PerAddress {
		return nil, errors.New("connections: want at least one for each address, and in total at least as many")
	}
	return &listener{Listener: ln, c: c, held: map[string]int{}}, nil
}

type listener struct {
	net.Listener
	c Config

	mu       sync.Mutex // guards what follows
	total    int
	held     map[string]int // by Key of the remote address
	refusals int
}

// Accept returns the next connection within the limits.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key := Key(c.RemoteAddr().String())
		why := l.take(key)
		if why == "" {
			return &conn{Conn: c, release: sync.OnceFunc(func() { l.giveBack(key) })}, nil
		}
		l.refuse(c, why)
	}
}

// take counts a connection in, or says why not.
func (l *listener) take(key string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.total >= l.c.Total:
		return fmt.Sprintf("this hub holds %d connections, as many as it may", l.total)
	case l.held[key] >= l.c.PerAddress:
		return fmt.Sprintf("%s holds %d connections to this hub, as many as one address may", key, l.held[key])
	}
	l.total++
	l.held[key]++
	return ""
}

func (l *listener) giveBack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.held[key]--; l.held[key] == 0 {
		delete(l.held, key)
	}
}

// refuse ends a connection, and says why if it can. It does not block.
func (l *listener) refuse(c net.Conn, why string) {
	l.mu.Lock()
	speak := l.c.Plain && l.refusals < maxRefusals
	if speak {
		l.refusals++
	}
	l.mu.Unlock()
	if !speak {
		_ = c.Close() // it is unused
		return
	}
	go func() {
		say(c, why)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.refusals--
	}()
}

// say answers before anything is asked. What the caller sends is read for a
// moment: closing over unread bytes would take the answer back.
func say(c net.Conn, why string) {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(refusalWithin)) != nil {
		return
	}
	body := fmt.Sprintf(refusal, why)
	_, err := fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nRetry-After: 5\r\nConnection: close\r\n\r\n%s", len(body), body)
	if half, ok := c.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 64<<10)) // until the caller closes, or the deadline
	}
}

// conn is counted until it is closed.
type conn struct {
	net.Conn
	release func()
}

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// Key is what a caller is known by: its IPv4 address, or its IPv6 network, of
// which it can choose the rest. remote is host:port.
func Key(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return "unknown"
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is6() {
		if network, err := a.Prefix(64); err == nil {
			return network.String()
		}
	}
	return a.String()
}
