package control

import (
	"io"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/request"
	"atoll/internal/store"
)

// After the retention a task's data are gone, its evidence stays, and a crash at
// any commit on the way loses nothing that is still needed.
func TestPruning(t *testing.T) {
	t.Parallel()
	for crash := range 8 {
		w := newWorld(t)
		w.retention = 24 * time.Hour
		w.reopen()
		a := w.join("a-1", "alice", "FR", 10_000)
		v := request.Viewer{Account: "demo"}
		unused, _, err := w.hub.PutBlob(t.Context(), v, strings.NewReader("never used"), core.Digest{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		old, err := w.submit("once", inline(100_000))
		if err != nil {
			t.Fatal(err)
		}
		w.report(a, w.leases(a.id)[0], "old result", nil)
		w.settle()
		input := core.DigestOf([]byte(strings.Repeat("x", 100_000)))

		w.now = w.now.Add(24*time.Hour + time.Minute)
		w.beat(a)
		young := w.mustSubmit(func(s *api.TaskSpec) { inline(70_000)(s) })
		points := 0
		w.crash = func(store.Point) bool { points++; return points == crash }
		_ = w.hub.Prune(t.Context())
		w.reopen()
		w.join("b-1", "bob", "FR", 10_000)
		must(t, func() error { return w.hub.Prune(t.Context()) })

		if err := w.hub.PartResult(t.Context(), v, old.ID, 0, io.Discard); core.KindOf(err) != core.Gone {
			t.Errorf("crash %d: result: %v", crash, err)
		}
		if _, _, _, err := w.hub.Events(t.Context(), v, old.ID, 0); core.KindOf(err) != core.Gone {
			t.Errorf("crash %d: events: %v", crash, err)
		}
		blobs := w.hub.cfg.Blobs
		if blobs.Has(input) || blobs.Has(unused) {
			t.Errorf("crash %d: content stayed: %v, %v", crash, blobs.Has(input), blobs.Has(unused))
		}
		if !blobs.Has(w.model.Digest) || !blobs.Has(core.DigestOf([]byte(strings.Repeat("x", 70_000)))) {
			t.Errorf("crash %d: content that is needed went", crash)
		}
		if got, want := w.stored(), int64(len("a model")+70_000); got != want {
			t.Errorf("crash %d: %d bytes are charged, want %d", crash, got, want)
		}
		if again, err := w.submit("once", inline(100_000)); err != nil || again.ID == old.ID {
			t.Errorf("crash %d: the key is still known: %v", crash, err)
		}
		if err := w.hub.PartResult(t.Context(), v, young.ID, 0, io.Discard); core.KindOf(err) == core.Gone {
			t.Errorf("crash %d: a young task was pruned", crash)
		}
		w.audit()
	}
}

// Content that a submission is about to refer to is pinned, and stays.
func TestPruningLeavesWhatIsComing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.retention = 24 * time.Hour
	w.reopen()
	in := w.hub.newIntake("demo")
	d, err := in.store(t.Context(), w.hub, []byte("of a task that is not stored yet"))
	if err != nil {
		t.Fatal(err)
	}
	must(t, func() error { return w.hub.Prune(t.Context()) })
	if !w.hub.cfg.Blobs.Has(d) {
		t.Error("content went between being stored and being referred to")
	}
	in.release()
	must(t, func() error { return w.hub.Prune(t.Context()) })
	if w.hub.cfg.Blobs.Has(d) {
		t.Error("content that nobody refers to stayed")
	}
}
