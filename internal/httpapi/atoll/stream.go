package atoll

import (
	"errors"
	"net/http"
	"slices"
	"time"
)

// stream is an answer whose status is sent with its first byte, so that what
// fails before can still be told properly.
type stream struct {
	w       http.ResponseWriter
	extend  func(time.Time) error
	timeout time.Duration
	started bool
}

// streamTo answers with what write writes.
func (s *server) streamTo(w http.ResponseWriter, r *http.Request, write func(*stream) error) {
	st := &stream{w: w, extend: http.NewResponseController(w).SetWriteDeadline, timeout: s.cfg.BodyTimeout}
	err := write(st)
	switch {
	case err == nil:
		_, err = st.Write(nil) // an empty result is a result
	case !st.started:
		s.fail(w, r, err)
		return
	}
	if err == nil {
		err = st.end()
	}
	if err != nil {
		if r.Context().Err() == nil {
			s.cfg.Log.WarnContext(r.Context(), "an answer was cut short", "request_id", exchangeOf(w).id, "path", r.URL.Path, "err", err)
		}
		panic(http.ErrAbortHandler)
	}
}

func (st *stream) Write(b []byte) (int, error) {
	if !st.started {
		st.started = true
		st.w.Header().Set("Content-Type", "application/octet-stream")
		st.w.WriteHeader(http.StatusOK)
	}
	written := 0
	for piece := range slices.Chunk(b, streamPiece) {
		if err := setDeadline(st.extend, st.timeout); err != nil {
			return written, err
		}
		n, err := st.w.Write(piece)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// streamPiece is how much has to arrive within one timeout, in bytes: little
// enough for a thin line.
const streamPiece = 64 << 10

// end sends what is buffered and lifts the deadline, which would otherwise stay
// with the connection.
func (st *stream) end() error {
	if err := http.NewResponseController(st.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return setDeadline(st.extend, 0)
}
