package outbox

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Memory is an outbox whose disk is a map. It outlives the agent that writes to
// it, as a disk does: to simulate a crash, drop the agent and give the Memory
// to the next one. The zero value is empty and ready; it is safe for concurrent
// use.
type Memory struct {
	// Fail, if set, is asked before each Put; an error it returns is Put's, and
	// nothing is stored.
	Fail func() error

	mu      sync.Mutex
	entries map[int64]Entry
	puts    int
}

// Put is as [Outbox.Put].
func (m *Memory) Put(add []Entry, forget []int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Fail != nil {
		if err := m.Fail(); err != nil {
			return err
		}
	}
	if m.entries == nil {
		m.entries = map[int64]Entry{}
	}
	for _, e := range add {
		if _, ok := m.entries[e.ID]; ok {
			return fmt.Errorf("outbox: report %d is already there", e.ID)
		}
	}
	for _, e := range add {
		m.entries[e.ID] = e
	}
	for _, id := range forget {
		delete(m.entries, id)
	}
	m.puts++
	return nil
}

// All is as [Outbox.All].
func (m *Memory) All() ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	byID := func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) }
	return slices.SortedFunc(maps.Values(m.entries), byID), nil
}

// Puts counts the durable writes so far.
func (m *Memory) Puts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.puts
}
