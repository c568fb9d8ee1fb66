package blob

import (
	"slices"
	"strconv"
	"testing"

	"atoll/internal/core"
)

// Discarded content is gone at once; until remove is called, a crash brings it back.
func TestDiscard(t *testing.T) {
	t.Parallel()
	for _, removed := range []bool{false, true} {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		d := put(t, s, "content")
		unpin, _ := s.Pin(d)
		if remove, err := s.Discard(d); remove != nil || err != nil {
			t.Errorf("content in use is discarded: %v", err)
		}
		unpin()
		remove, err := s.Discard(d)
		if err != nil || remove == nil {
			t.Fatal("not discarded", err)
		}
		if s.Has(d) || s.Used() != 0 {
			t.Errorf("%d bytes stay", s.Used())
		}
		if removed {
			if err := remove(); err != nil {
				t.Fatal(err)
			}
		}
		after := open(t, dir, Options{})
		if after.Has(d) == removed || temps(t, dir) != 0 {
			t.Errorf("removed %v: stored %v, %d torn files", removed, after.Has(d), temps(t, dir))
		}
		if got, err := read(after, d); !removed && (err != nil || got != "content") {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// The store is looked through in steps that miss nothing.
func TestDigestsFrom(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{FS: fastFS{}})
	want := map[core.Digest]bool{}
	for i := range 300 {
		want[put(t, s, strconv.Itoa(i))] = true
	}
	var from byte
	for steps := 1; ; steps++ {
		found, next, err := s.DigestsFrom(from, 50)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range found {
			if !want[d] {
				t.Errorf("%s is found twice, or was never stored", d.Short())
			}
			delete(want, d)
		}
		if shards := slices.CompactFunc(found, func(a, b core.Digest) bool { return a[0] == b[0] }); len(shards) > 50 {
			t.Errorf("a step goes on after it has enough: %d", len(found))
		}
		if from = next; from == 0 {
			if steps < 4 || len(want) > 0 {
				t.Errorf("%d steps, %d missed", steps, len(want))
			}
			return
		}
	}
}
