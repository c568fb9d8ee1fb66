package blob

import (
	"errors"
	"io"
	"strings"
	"testing"

	"atoll/internal/core"
)

// smallDisk is a disk of so many bytes that holds nothing but a store.
func smallDisk(t *testing.T, size int64, o Options) *Store {
	t.Helper()
	var s *Store
	o.Free = func(string) (int64, error) { return size - s.Used(), nil }
	s = open(t, t.TempDir(), o)
	return s
}

func TestReserveStaysFree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	free := int64(1000)
	s := open(t, dir, Options{Reserve: 600, Free: func(string) (int64, error) { return free, nil }})
	put(t, s, strings.Repeat("x", 400))
	again := func(n int) error {
		_, _, err := s.Put(t.Context(), strings.NewReader(strings.Repeat("y", n)), core.Digest{}, 1000)
		return err
	}
	if err := again(401); !errors.Is(err, ErrNoSpace) || core.KindOf(err) != core.StorageFull {
		t.Errorf("one byte of the reserve was taken: %v", err)
	}
	if err := s.Room(); err != nil {
		t.Errorf("there is room: %v", err)
	}
	free = 599
	if err := again(1); !errors.Is(err, ErrNoSpace) {
		t.Errorf("under the reserve: %v", err)
	}
	if err := s.Room(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("under the reserve: %v", err)
	}
	if _, _, err := s.Put(t.Context(), unread{t}, core.Digest{}, 1000); !errors.Is(err, ErrNoSpace) {
		t.Errorf("nothing should be read: %v", err)
	}
	if _, _, _, err := s.PutUrgent(t.Context(), strings.NewReader(strings.Repeat("z", 299)), core.Digest{}, 1000); err != nil {
		t.Errorf("half of the reserve is for urgent content: %v", err)
	}
	if _, _, _, err := s.PutUrgent(t.Context(), strings.NewReader(strings.Repeat("w", 300)), core.Digest{}, 1000); !errors.Is(err, ErrNoSpace) {
		t.Errorf("the other half is not: %v", err)
	}
	if n := temps(t, dir); n != 0 || s.Used() != 699 {
		t.Errorf("%d temporary files, %d bytes left behind", n, s.Used())
	}
}

type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("content was read that has no room")
	return 0, io.EOF
}

func TestCacheGivesWayToTheReserve(t *testing.T) {
	t.Parallel()
	s := smallDisk(t, 100, Options{MaxBytes: 1000, Reserve: 70})
	a, b := put(t, s, "aaaaaaaaaa"), put(t, s, "bbbbbbbbbb")
	release, _ := s.Pin(a)
	if put(t, s, strings.Repeat("c", 20)); !s.Has(a) || s.Has(b) {
		t.Error("what is not in use should have gone, and nothing else")
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader(strings.Repeat("d", 21)), core.Digest{}, 100); !errors.Is(err, ErrNoSpace) {
		t.Errorf("more than there is room for: %v", err)
	}
	release()
	if put(t, s, strings.Repeat("e", 30)); s.Has(a) {
		t.Error("the released one should have gone")
	}
}

func TestUnknownFreeSpaceIsAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("no such disk")
	s := open(t, t.TempDir(), Options{Reserve: 1, Free: func(string) (int64, error) { return 0, broken }})
	if _, _, err := s.Put(t.Context(), strings.NewReader("x"), core.Digest{}, 9); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := Open(t.TempDir(), Options{Reserve: -1}); err == nil {
		t.Error("a negative reserve was accepted")
	}
}
