package atoll

import (
	"errors"
	"net/http"
	"slices"
	"time"
)

// Stream is an answer whose status is sent with its first byte, so that what
// fails before can still be told properly.
type Stream struct {
	w       http.ResponseWriter
	kind    string // content type
	extend  func(time.Time) error
	timeout time.Duration
	started bool
}

// streamTo answers with what write writes.
func (s *server) streamTo(w http.ResponseWriter, r *http.Request, write func(*Stream) error) {
	if err := s.stream(w, r, "application/octet-stream", write); err != nil {
		s.fail(w, r, err)
	}
}

// stream is streamTo for other types. It fails while there is still an answer to
// be given; later it cuts the answer off.
func (s *server) stream(w http.ResponseWriter, r *http.Request, kind string, write func(*Stream) error) error {
	st := &Stream{w: w, kind: kind, extend: http.NewResponseController(w).SetWriteDeadline, timeout: s.cfg.BodyTimeout}
	err := write(st)
	switch {
	case err == nil:
		_, err = st.Write(nil) // an empty result is a result
	case !st.started:
		return err
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
	return nil
}

// Started reports whether the status has been sent.
func (st *Stream) Started() bool { return st.started }

// Write implements io.Writer: the client has to take each piece in time.
func (st *Stream) Write(b []byte) (int, error) {
	if !st.started {
		st.started = true
		st.w.Header().Set("Content-Type", st.kind)
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

// Flush sends what is buffered.
func (st *Stream) Flush() error {
	if err := http.NewResponseController(st.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// end sends what is buffered and lifts the deadline, which would otherwise stay
// with the connection.
func (st *Stream) end() error {
	if err := st.Flush(); err != nil {
		return err
	}
	return setDeadline(st.extend, 0)
}
