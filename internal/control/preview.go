package control

import (
	"bytes"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/request"
)

// Bounds on what is kept of results that are still coming into being. What is over
// them is seen when the result is there.
const (
	maxPreview  = 1 << 20 // bytes of one
	maxPreviews = 256 << 20
	maxOwn      = 16 << 20 // of one account: it leaves room for others
)

// preview is the beginning of a task's result, as the nodes tell it that compute
// it: soft state, guarded by Control.mu. A node that takes over computes the same
// again, so that its word only counts for what goes beyond; whatever was told, the
// result decides.
type preview struct {
	data    []byte
	changed chan struct{} // closed and replaced when there is more, closed at the end
}

func newPreview() *preview { return &preview{changed: make(chan struct{})} }

// progress takes what a node tells of its leases' results.
func (c *Control) progress(id core.NodeID, m *bus.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range m.Pieces {
		p := &m.Pieces[i]
		r := c.leases[p.Lease]
		if r == nil || r.node.doc.ID != id || r.task.preview == nil {
			continue
		}
		own := c.ownPreviews[r.task.Account]
		c.countPreview(r.task.Account, r.task.preview.add(p.Offset, p.Data, min(maxPreviews-c.previews, maxOwn-own)))
	}
}

// countPreview counts bytes that came, or went.
func (c *Control) countPreview(a core.AccountID, n int) {
	c.previews += n
	if c.ownPreviews[a] += n; c.ownPreviews[a] == 0 {
		delete(c.ownPreviews, a)
	}
}

// add appends what of a piece is new and returns how much that is. A piece that
// leaves a gap, or says otherwise than was said before, adds nothing.
func (p *preview) add(offset int, data []byte, room int) int {
	had := len(p.data) - offset
	if offset < 0 || had < 0 || had >= len(data) || !bytes.Equal(p.data[offset:], data[:had]) {
		return 0
	}
	more := data[had:]
	if len(more) > min(room, maxPreview-len(p.data)) {
		return 0
	}
	p.data = append(p.data, more...)
	close(p.changed)
	p.changed = make(chan struct{})
	return len(more)
}

// endPreview lets go of a preview whose task has ended.
func (c *Control) endPreview(t *task) {
	if t.preview != nil {
		c.countPreview(t.Account, -len(t.preview.data))
		close(t.preview.changed)
		t.preview = nil
	}
}

// Preview returns what is known of a task's result after its first from bytes, and
// a channel that is closed when that may have changed. The channel is nil when
// nothing more will be known before the result is there. The bytes must not be
// changed.
func (c *Control) Preview(v request.Viewer, id core.TaskID, from int) (more []byte, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tasks[id]
	if t == nil || t.preview == nil || (!v.Admin && t.Account != v.Account) {
		return nil, nil
	}
	data := t.preview.data
	return data[min(from, len(data)):len(data):len(data)], t.preview.changed
}
