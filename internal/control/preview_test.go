package control

import (
	"strings"
	"testing"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/request"
)

func TestPreview(t *testing.T) {
	t.Parallel()
	const room = maxPreviews
	tests := map[string]struct {
		offset int
		data   string
		want   string
	}{
		"more":                    {3, "def", "abcdef"},
		"again, and more":         {0, "abcd", "abcd"}, // another node, from the beginning
		"again":                   {0, "ab", "abc"},
		"a gap":                   {4, "e", "abc"},
		"otherwise than before":   {0, "axcdef", "abc"},
		"before the beginning":    {-1, "abcdef", "abc"},
		"an offset out of bounds": {1 << 62, "x", "abc"},
		"more than may be kept":   {3, strings.Repeat("x", maxPreview), "abc"},
		"as much as may be kept":  {3, strings.Repeat("x", maxPreview-3), "abc" + strings.Repeat("x", maxPreview-3)},
		"nothing":                 {3, "", "abc"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPreview()
			p.add(0, []byte("abc"), room)
			changed := p.changed
			p.add(tt.offset, []byte(tt.data), room)
			if string(p.data) != tt.want {
				t.Errorf("%.50q, want %.50q", p.data, tt.want)
			}
			select {
			case <-changed:
				if tt.want == "abc" {
					t.Error("watchers are woken for nothing")
				}
			default:
				if tt.want != "abc" {
					t.Error("watchers sleep on")
				}
			}
		})
	}
	p := newPreview()
	if p.add(0, []byte("abc"), 2); len(p.data) != 0 {
		t.Error("previews take more memory than all may")
	}
}

// One account's streams leave room for another's, and all is given back.
func TestPreviewsAreSharedFairly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*testNode{w.join("a-1", "alice", "FR", 10_000), w.join("b-1", "bob", "FR", 10_000), w.join("c-1", "carol", "FR", 10_000)}
	piece := make([]byte, maxPreview)
	type lease struct {
		bus.Lease
		node *testNode
	}
	var leases []lease
	for range maxOwn/maxPreview + 1 {
		spec := &api.TaskSpec{Model: "echo", Input: []api.DataPointer{{URI: "data:,x"}}}
		full := spec.WithDefaults()
		if _, err := w.hub.Submit(t.Context(), request.Submission{Account: "demo", Spec: &full, Preview: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		for _, l := range w.leases(n.id) {
			leases = append(leases, lease{l, n})
			w.hub.progress(n.id, &bus.Progress{Pieces: []bus.Piece{{Lease: l.ID, Data: piece}}})
		}
	}
	if len(leases) != maxOwn/maxPreview+1 || w.hub.previews != maxOwn || w.hub.ownPreviews["demo"] != maxOwn {
		t.Errorf("of %d previews %d bytes are kept, %d of them of one account that may have %d", len(leases), w.hub.previews, w.hub.ownPreviews["demo"], maxOwn)
	}
	for _, l := range leases {
		w.report(l.node, l.Lease, "x", nil)
	}
	if w.hub.previews != 0 || len(w.hub.ownPreviews) != 0 {
		t.Errorf("%d bytes are left, %v", w.hub.previews, w.hub.ownPreviews)
	}
}
