package swarm

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"
)

// looks bounds how many chunks are compared before one is chosen.
const looks = 256

// pick chooses the chunk to ask of a source, and enters that it was asked; changed is
// closed when there may be one, if there is none.
func (t *transfer) pick(s *source) (n int, ok bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok = t.choose(s, time.Now()); ok {
		t.chunks[n].asked, t.chunks[n].at = s, time.Now()
	}
	return n, ok, t.changed
}

// choose is pick without effect; mu is held.
func (t *transfer) choose(s *source, now time.Time) (best int, ok bool) {
	if t.wanted == 0 || s.origin && !t.originsTurn(now) {
		return 0, false
	}
	for len(t.first) > 0 && t.chunks[t.first[0]].here {
		t.first = t.first[1:]
	}
	for _, n := range t.first {
		if t.open(s, n, now) {
			return n, true
		}
	}
	least, start := uint64(0), rand.IntN(len(t.chunks)) //nolint:gosec // nobody gains by guessing it
	for i, left := 0, looks; i < len(t.chunks) && left > 0; i++ {
		n := (start + i) % len(t.chunks)
		if !t.open(s, n, now) {
			continue
		}
		left--
		if r := t.rank(n); !ok || r < least {
			best, least, ok = n, r, true
		}
	}
	return best, ok
}

// open reports whether a chunk may be asked of a source.
func (t *transfer) open(s *source, n int, now time.Time) bool {
	c := &t.chunks[n]
	switch {
	case c.here || c.want == 0 || !s.has(n):
		return false
	case c.asked != nil && (c.asked == s || now.Sub(c.at) < lateAfter):
		return false
	case s.all && c.fellows > 0 && now.Sub(c.open) < patience: // it spares those who have all
		return false
	case s.origin && c.holders > c.fellows && now.Sub(t.brought) < lateAfter:
		return false
	}
	return true
}

// originsTurn reports whether the origin may be asked at all: not while peers, of which
// one might have all, are being met.
func (t *transfer) originsTurn(now time.Time) bool {
	return t.greeting == 0 || now.Sub(t.since) >= meetTime
}

// rank orders chunks that are open: rare ones first, and of those the ones that the lot
// gives to this node.
func (t *transfer) rank(n int) uint64 {
	r := uint64(t.chunks[n].holders) << 1
	mine := lot(t.s.cfg.Self[:], n)
	if slices.ContainsFunc(t.sources, func(s *source) bool { return !s.all && lot(s.key[:], n) < mine }) {
		r++
	}
	return r
}

// lot is what a node has drawn for a chunk: the least has it. (The finalizer is that of
// SplitMix64.)
func lot(key []byte, n int) uint64 {
	x := binary.BigEndian.Uint64(key) + uint64(n)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
