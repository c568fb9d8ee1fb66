package agent

import "atoll/internal/core"

// ending is how a lease ended for this node.
type ending int

const (
	acknowledged ending = iota + 1
	refused
	cancelled
)

type memo struct {
	how    ending
	reason string // of a refusal
}

// memory remembers the last leases that are over, so that a late or doubled
// offer of one is not run. Older ones are forgotten in the order they came; the
// hub's own expiry has long passed for them.
type memory struct {
	memos map[core.LeaseID]memo
	ring  []core.LeaseID
	next  int
}

func newMemory() *memory { return &memory{memos: map[core.LeaseID]memo{}} }

func (m *memory) add(id core.LeaseID, how ending, reason string) {
	if _, known := m.memos[id]; !known {
		if len(m.ring) < rememberLeases {
			m.ring = append(m.ring, id)
		} else {
			delete(m.memos, m.ring[m.next])
			m.ring[m.next] = id
			m.next = (m.next + 1) % len(m.ring)
		}
	}
	m.memos[id] = memo{how, reason}
}

func (m *memory) find(id core.LeaseID) (memo, bool) {
	v, ok := m.memos[id]
	return v, ok
}
