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

// Content goes for good once what named it is durably gone, and not before: a
// transaction that takes it away and is never committed leaves it.
func TestCollectedContentOutlivesAFailedCommit(t *testing.T) {
	t.Parallel()
	for _, at := range []store.Point{store.BeforeCommit, store.AfterCommit} {
		w := newWorld(t)
		d, _, unpin, err := w.hub.cfg.Blobs.PutPinned(t.Context(), strings.NewReader("an orphan"), core.Digest{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		unpin()
		w.crash = func(p store.Point) bool { return p == at }
		if err := w.hub.collect(t.Context()); err == nil {
			t.Fatal("the hub did not crash")
		}
		w.reopen()
		if !w.hub.cfg.Blobs.Has(d) {
			t.Errorf("%s: content went though nobody was told that it may", at)
		}
		must(t, func() error { return w.hub.collect(t.Context()) })
		if w.hub.cfg.Blobs.Has(d) {
			t.Errorf("%s: the next round does not find it", at)
		}
	}
}

// What has lost its name goes in the next round, wherever in the store that looks.
func TestUnnamedContentGoesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.retention = 24 * time.Hour
	w.reopen()
	a := w.join("a-1", "alice", "FR", 10_000)
	v := request.Viewer{Account: "demo"}
	upload, _, err := w.hub.PutBlob(t.Context(), v, strings.NewReader("never used"), core.Digest{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	file, err := w.hub.PutFile(t.Context(), v, strings.NewReader("a file"), 1000, func() (request.NewFile, error) { return request.NewFile{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	w.mustSubmit(inline(100_000))
	w.report(a, w.leases(a.id)[0], "result", nil)
	w.settle()
	must(t, func() error { return w.hub.DeleteFile(t.Context(), v, file.ID) })
	w.now = w.now.Add(25 * time.Hour)
	w.hub.collectFrom = 255 // and none of these digests begins so
	must(t, func() error { return w.hub.Prune(t.Context()) })
	for what, d := range map[string]core.Digest{"an upload": upload, "a file": file.Digest, "an input": core.DigestOf([]byte(strings.Repeat("x", 100_000)))} {
		if d[0] == 255 || w.hub.cfg.Blobs.Has(d) {
			t.Errorf("%s stays", what)
		}
	}
	if w.hub.collectFrom != 0 {
		t.Error("the next round does not begin anew")
	}
}

// Callbacks that are over are forgotten after the retention, others are not.
func TestCallbacksArePruned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.retention = 24 * time.Hour
	w.reopen()
	a := w.join("a-1", "alice", "FR", 10_000)
	called := func() int64 {
		w.mustSubmit(func(s *api.TaskSpec) { s.Callback = &api.Callback{URL: "https://example.com/"} })
		w.report(a, w.leases(a.id)[0], "result", nil)
		due, err := w.hub.DueCallbacks(t.Context(), w.now, 9)
		if err != nil || len(due) == 0 {
			t.Fatal(due, err)
		}
		return due[len(due)-1].ID
	}
	over := func(id int64) {
		cb, err := w.hub.store.Callback(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		cb.State = store.CallbackDone
		must(t, func() error { return w.hub.UpdateCallback(t.Context(), cb) })
	}
	old := called()
	over(old)
	due := called()
	w.now = w.now.Add(25 * time.Hour)
	w.beat(a)
	must(t, func() error { return w.hub.Prune(t.Context()) })
	young := called()
	over(young)
	must(t, func() error { return w.hub.Prune(t.Context()) })
	for id, kept := range map[int64]bool{old: false, due: true, young: true} {
		if _, err := w.hub.store.Callback(t.Context(), id); (err == nil) != kept {
			t.Errorf("callback %d: %v, want it kept: %v", id, err, kept)
		}
	}
}
