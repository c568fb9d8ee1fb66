package control

import (
	"io"
	"strings"
	"sync"
	"testing"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/request"
)

func (w *world) stored() int64 {
	w.t.Helper()
	all, err := w.hub.Accounts(w.t.Context(), request.Viewer{Account: "demo"})
	if err != nil || len(all) != 1 || all[0].StorageLimit != w.hub.quota.limit {
		w.t.Fatalf("%+v, %v", all, err)
	}
	return all[0].StoredBytes
}

// inline returns an edit that submits n bytes with the task itself.
func inline(n int) func(*api.TaskSpec) {
	return func(s *api.TaskSpec) { s.Input = []api.DataPointer{{URI: "data:," + strings.Repeat("x", n)}} }
}

// All that an account has the hub keep counts, also after a restart.
func TestQuotaCountsAllBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quota = 500_000
	w.reopen()
	a := w.join("a-1", "alice", "FR", 10_000)
	want := int64(len("a model"))
	check := func(what string, more int64) {
		t.Helper()
		if want += more; w.stored() != want {
			t.Errorf("after %s: %d bytes are stored, want %d", what, w.stored(), want)
		}
	}
	check("an upload", 0)
	w.mustSubmit(inline(1000))
	l := w.leases(a.id)[0]
	check("a small input", 1000)
	w.mustSubmit(inline(100_000))
	big := w.leases(a.id)[0]
	check("a large input", 100_000)

	data := strings.Repeat("u", 100_000)
	d, _, err := w.hub.PutBlob(t.Context(), request.Viewer{Account: "demo"}, strings.NewReader(data), core.Digest{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	check("another upload", 100_000)
	if _, _, err := w.hub.PutBlob(t.Context(), request.Viewer{Account: "demo"}, strings.NewReader(data), core.Digest{}, 1<<20); err != nil {
		t.Fatal(err)
	}
	w.mustSubmit(func(s *api.TaskSpec) { s.Input = []api.DataPointer{{URI: "blob:" + d.String()}} })
	check("bringing and using the same again", 0)

	w.report(a, l, "twelve bytes", nil)
	check("a small result", 12)
	result := strings.Repeat("r", 200_000)
	if err := w.hub.PutResult(t.Context(), a.id, big.ID, strings.NewReader(result)); err != nil {
		t.Fatal(err)
	}
	w.reportUploaded(a, big, core.DigestOf([]byte(result)))
	check("a large result", 200_000)
	w.reopen()
	check("a restart", 0)

	if _, err := w.submit("", inline(100_000)); core.KindOf(err) != core.TooLarge || !strings.Contains(err.Error(), "account demo") {
		t.Errorf("over the quota: %v", err)
	}
	check("a refusal", 0)
	w.mustSubmit(inline(1000))
	check("what still fits", 1000)
}

// Many uploads at a time get no more in than one after another.
func TestQuotaIsOneForAll(t *testing.T) {
	t.Parallel()
	q := newQuota(1000)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var claims []*claim
	in := 0
	for range 50 {
		wg.Go(func() {
			m := q.claim("demo")
			_, err := io.Copy(io.Discard, m.reader(strings.NewReader(strings.Repeat("x", 100))))
			mu.Lock()
			defer mu.Unlock()
			if claims = append(claims, m); err == nil {
				in++
			} else if core.KindOf(err) != core.TooLarge {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if in != 10 {
		t.Errorf("%d claims of 100 bytes went into 1000", in)
	}
	other := q.claim("other")
	if err := other.add(1000); err != nil {
		t.Errorf("another account: %v", err)
	}
	for _, m := range claims {
		m.release()
	}
	if len(q.coming) != 1 {
		t.Errorf("left behind: %v", q.coming)
	}
}

// Files without bytes, of which nothing would be charged, are not kept.
func TestEmptyFilesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	about := func() (request.NewFile, error) { return request.NewFile{}, nil }
	if _, err := w.hub.PutFile(t.Context(), request.Viewer{Account: "demo"}, strings.NewReader(""), 1000, about); core.KindOf(err) != core.Invalid {
		t.Errorf("an empty file: %v", err)
	}
}
