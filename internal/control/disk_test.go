package control

import (
	"strings"
	"testing"

	"atoll/internal/core"
	"atoll/internal/request"
)

// A disk that is nearly full keeps new work out, and lets what is under way end.
func TestNearlyFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reserve, w.free = 1<<20, 2<<20
	w.reopen()
	a := w.join("a-1", "alice", "FR", 10_000)
	r, err := w.submit("once", nil)
	if err != nil {
		t.Fatal(err)
	}
	l := w.leases(a.id)[0]

	w.free = 1<<20 - 1
	if _, err := w.submit("new", nil); core.KindOf(err) != core.StorageFull {
		t.Errorf("a new task: %v", err)
	}
	if again, err := w.submit("once", nil); err != nil || again.ID != r.ID {
		t.Errorf("a task repeated: %+v, %v", again, err)
	}
	v := request.Viewer{Account: "demo"}
	if _, _, err := w.hub.PutBlob(t.Context(), v, strings.NewReader("more"), core.Digest{}, 1000); core.KindOf(err) != core.StorageFull {
		t.Errorf("an upload: %v", err)
	}
	result := strings.Repeat("r", 100_000)
	if err := w.hub.PutResult(t.Context(), a.id, l.ID, strings.NewReader(result)); err != nil {
		t.Fatalf("the result of what is under way: %v", err)
	}
	w.reportUploaded(a, l, core.DigestOf([]byte(result)))
	w.settle()
	if got := w.task(r.ID); got.State != "succeeded" || got.Cost.Paid == 0 {
		t.Errorf("what was under way: %+v", got)
	}

	w.free = 2 << 20 // the operator made room
	if _, err := w.submit("new", nil); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	w.audit()
}
