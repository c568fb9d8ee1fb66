package control

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/request"
	"atoll/internal/store"
)

var demo = request.Viewer{Account: "demo"}

func (w *world) putFile(content string, keep time.Duration) (request.File, error) {
	return w.hub.PutFile(w.t.Context(), demo, strings.NewReader(content), 1000, func() (request.NewFile, error) {
		return request.NewFile{Name: "a.jsonl", Purpose: "batch", Keep: keep}, nil
	})
}

func (w *world) mustPutFile(content string, keep time.Duration) request.File {
	w.t.Helper()
	f, err := w.putFile(content, keep)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// A file counts against its account's quota until it is deleted or its time is
// over, also if another has the same content, and across restarts.
func TestFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	base := w.stored()
	first, second := w.mustPutFile("ten bytes!", 0), w.mustPutFile("ten bytes!", time.Hour)
	w.reopen()
	if got := w.stored() - base; got != 20 {
		t.Errorf("two files of ten bytes count %d", got)
	}
	r, err := w.hub.OpenFile(&first)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "ten bytes!" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	_ = r.Close()
	for range 2 { // what has been given back is not given back again
		if err := w.hub.DeleteFile(t.Context(), demo, first.ID); err != nil && core.KindOf(err) != core.NotFound {
			t.Fatal(err)
		}
	}
	must(t, func() error { return w.hub.Prune(t.Context()) })
	if got := w.stored() - base; got != 10 || !w.hub.cfg.Blobs.Has(second.Digest) {
		t.Errorf("one file of ten bytes counts %d; its content is there: %v", got, w.hub.cfg.Blobs.Has(second.Digest))
	}
	w.now = w.now.Add(time.Hour)
	if _, err := w.hub.File(t.Context(), demo, second.ID); core.KindOf(err) != core.NotFound {
		t.Errorf("after its time: %v", err)
	}
	if list, err := w.hub.Files(t.Context(), demo, request.FileQuery{Limit: 10}); len(list) != 0 || err != nil {
		t.Errorf("after its time: %+v, %v", list, err)
	}
	must(t, func() error { return w.hub.Prune(t.Context()) })
	if got := w.stored() - base; got != 0 || w.hub.cfg.Blobs.Has(second.Digest) {
		t.Errorf("no file counts %d", got)
	}
}

// What is refused after it has been read leaves nothing behind.
func TestRefusedFileLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	base := w.stored()
	bad := errors.New("the form is wrong after all")
	_, err := w.hub.PutFile(t.Context(), demo, strings.NewReader("content"), 1000, func() (request.NewFile, error) { return request.NewFile{}, bad })
	if !errors.Is(err, bad) {
		t.Fatal(err)
	}
	if _, err := w.putFile(strings.Repeat("x", 1001), 0); err == nil {
		t.Error("a file over the limit was taken")
	}
	w.quota = base + 5
	w.reopen()
	if _, err := w.putFile("sixsix", 0); core.KindOf(err) != core.TooLarge {
		t.Errorf("over the quota: %v", err)
	}
	must(t, func() error { return w.hub.Prune(t.Context()) })
	if w.stored() != base || w.hub.cfg.Blobs.Has(core.DigestOf([]byte("content"))) {
		t.Errorf("%d bytes are charged for nothing", w.stored()-base)
	}
}

func TestFilesAreTheirAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := request.Viewer{Account: "other", Admin: true}
	var all []request.File
	for range 5 {
		all = append(all, w.mustPutFile("x", 0))
	}
	if _, err := w.hub.File(t.Context(), other, all[0].ID); core.KindOf(err) != core.NotFound {
		t.Errorf("another's file: %v", err)
	}
	if err := w.hub.DeleteFile(t.Context(), other, all[0].ID); core.KindOf(err) != core.NotFound {
		t.Errorf("another's file: %v", err)
	}
	ids := func(q request.FileQuery) (out []int) {
		list, err := w.hub.Files(t.Context(), demo, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			for i := range all {
				if f.ID == all[i].ID {
					out = append(out, i)
				}
			}
		}
		return out
	}
	for _, tt := range []struct {
		q    request.FileQuery
		want []int
	}{
		{request.FileQuery{Limit: 3}, []int{4, 3, 2}},
		{request.FileQuery{Limit: 3, After: all[2].ID}, []int{1, 0}},
		{request.FileQuery{Limit: 2, OldestFirst: true}, []int{0, 1}},
		{request.FileQuery{Limit: 9, OldestFirst: true, After: all[3].ID}, []int{4}},
		{request.FileQuery{Limit: 9, Purpose: "batch_output"}, nil},
	} {
		if got := ids(tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.q, got, tt.want)
		}
	}
}

// submitBatch submits three requests in two parts.
func (w *world) submitBatch(key string) (core.TaskID, error) {
	full := (&api.TaskSpec{Model: "echo", Input: []api.DataPointer{{URI: "data:,"}}}).WithDefaults()
	r, err := w.hub.Submit(w.t.Context(), request.Submission{
		Account: "demo", Key: key, Spec: &full, Input: []byte("one\ntwo\nthree\n"), Ends: []int64{8, 14}, Batch: &request.Batch{Endpoint: "/v1/completions", Requests: 3, Each: 2},
	})
	return r.ID, err
}

// A batch is there exactly if its task is, whenever the hub dies, and what has come
// of it is stored once.
func TestBatch(t *testing.T) {
	t.Parallel()
	for crash := range 6 {
		w := newWorld(t)
		w.retention = 24 * time.Hour
		w.reopen()
		a := w.join("a-1", "alice", "FR", 10_000)
		points := 0
		w.crash = func(store.Point) bool { points++; return points == crash }
		_, _ = w.submitBatch("once")
		w.reopen()
		tasks, _, err := w.hub.Tasks(t.Context(), demo, "", request.Page{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		list, err := w.hub.Batches(t.Context(), demo, 1<<62, 10)
		if err != nil || len(list) != len(tasks) {
			t.Fatalf("crash %d: %d tasks, %d batches, %v", crash, len(tasks), len(list), err)
		}
		w.beat(a)
		id, err := w.submitBatch("once")
		if err != nil {
			t.Fatal(err)
		}
		again, err := w.submitBatch("once")
		if err != nil || again != id {
			t.Fatalf("crash %d: the same key: %s and %s, %v", crash, id, again, err)
		}
		if list, _ = w.hub.Batches(t.Context(), demo, 1<<62, 10); len(list) != 1 || list[0].Task != id {
			t.Fatalf("crash %d: %+v", crash, list)
		}
		done := request.BatchDone{Completed: 2, Failed: 1}
		output := request.File{Name: "out", Purpose: "batch_output", Size: 7}
		if _, err := w.hub.FinishBatch(t.Context(), id, done, output, request.File{}); core.KindOf(err) != core.Conflict {
			t.Errorf("crash %d: finished before its end: %v", crash, err)
		}
		var input bytes.Buffer
		if err := w.hub.PartInput(t.Context(), demo, id, 1, &input); err != nil || input.String() != "three\n" {
			t.Errorf("%q, %v", input.String(), err)
		}
		for _, l := range w.leases(a.id) {
			w.report(a, l, "result", nil)
		}
		w.settle()
		base := w.stored()
		first, err := w.hub.FinishBatch(t.Context(), id, done, output, request.File{})
		if err != nil || first.Done.Output == 0 || first.Done.Errors != 0 {
			t.Fatalf("crash %d: %+v, %v", crash, first.Done, err)
		}
		second, err := w.hub.FinishBatch(t.Context(), id, request.BatchDone{Completed: 3}, output, output)
		if err != nil || *second.Done != *first.Done {
			t.Errorf("crash %d: finished twice: %+v and %+v, %v", crash, first.Done, second.Done, err)
		}
		if w.stored() != base {
			t.Errorf("crash %d: what is derived counts %d bytes", crash, w.stored()-base)
		}
		if _, err := w.hub.Batch(t.Context(), request.Viewer{Account: "other"}, id); core.KindOf(err) != core.NotFound {
			t.Errorf("another's batch: %v", err)
		}
		w.now = w.now.Add(25 * time.Hour)
		must(t, func() error { return w.hub.Prune(t.Context()) })
		if _, err := w.hub.File(t.Context(), demo, first.Done.Output); core.KindOf(err) != core.NotFound {
			t.Errorf("the output outlives the results: %v", err)
		}
		w.audit()
	}
}
