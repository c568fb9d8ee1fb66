package blob

import (
	"fmt"
	"io"

	"atoll/internal/core"
)

// room is what is known of the disk around the store.
type room struct {
	reserve int64
	free    func(dir string) (int64, error)
}

// Room fails with ErrNoSpace if less of the disk is free than the reserve. In a
// store with a size limit, old content gives way first.
func (s *Store) Room() error { return s.leaveFree(s.room.reserve, 0) }

// Fits fails with ErrTooLarge if the store is smaller than a content of so many bytes.
func (s *Store) Fits(size int64) error {
	if s.max > 0 && size > s.max {
		return core.Errorf(core.TooLarge, "the content has %d bytes and the store holds %d: %w", size, s.max, ErrTooLarge)
	}
	return nil
}

// leaveFree makes sure that, with need more bytes written, reserve bytes of the
// disk are still free. Puts that run at the same time do not see each other's
// next piece: the reserve is much larger than such pieces.
func (s *Store) leaveFree(reserve, need int64) error {
	if reserve == 0 {
		return nil
	}
	for {
		free, err := s.room.free(s.dir)
		if err != nil {
			return fmt.Errorf("blob store: free space of %s: %w", s.dir, err)
		}
		if free-need >= reserve {
			return nil
		}
		if gave, err := s.giveWay(); err != nil {
			return err
		} else if !gave {
			return core.Errorf(core.StorageFull, "the disk has %d bytes free, of which %d are kept for work under way: %w", free, reserve, ErrNoSpace).
				WithHint("make room on the disk of the hub's or node's directory, or lower --reserve; then try again")
		}
	}
}

// giveWay drops the content that was least recently used and is not in use, if
// this store may lose content at all.
func (s *Store) giveWay() (bool, error) {
	if s.max == 0 {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for place := s.lru.Back(); place != nil; place = place.Prev() {
		if e := place.Value.(*entry); e.pins == 0 {
			s.log.Info("blob store: the disk is nearly full, content was dropped", "digest", e.digest, "bytes", e.size)
			return true, s.drop(e)
		}
	}
	return false, nil
}

// roomyWriter writes only what leaves the reserve free.
type roomyWriter struct {
	store   *Store
	to      io.Writer
	reserve int64
}

func (w *roomyWriter) Write(p []byte) (int, error) {
	if err := w.store.leaveFree(w.reserve, int64(len(p))); err != nil {
		return 0, err
	}
	return w.to.Write(p)
}
