package atoll

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"time"
)

// Stream is an answer whose status is sent with its first byte, so that what
// fails before can still be told properly.
type Stream struct {
	w       patient
	kind    string // content type
	started bool
}

// patient is an answer of which the client has to take each piece in time.
type patient struct {
	http.ResponseWriter
	extend  func(time.Time) error
	timeout time.Duration
}

func (s *server) patient(w http.ResponseWriter) patient {
	return patient{w, http.NewResponseController(w).SetWriteDeadline, s.cfg.BodyTimeout}
}

// Unwrap is for http.ResponseController.
func (p patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Write implements io.Writer.
func (p patient) Write(b []byte) (int, error) {
	written := 0
	for piece := range slices.Chunk(b, streamPiece) {
		if err := setDeadline(p.extend, p.timeout); err != nil {
			return written, err
		}
		n, err := p.ResponseWriter.Write(piece)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// flush sends what is buffered.
func (p patient) flush() error {
	if err := http.NewResponseController(p.ResponseWriter).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// end sends what is buffered and lifts the deadline, which would otherwise stay
// with the connection.
func (p patient) end() error {
	if err := p.flush(); err != nil {
		return err
	}
	return setDeadline(p.extend, 0)
}

// serveContent answers with a file, or with the range of it that is asked for.
func (s *server) serveContent(w http.ResponseWriter, r *http.Request, content io.ReadSeeker) {
	p := s.patient(w)
	p.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(p, r, "", time.Time{}, content)
	if err := p.end(); err != nil {
		panic(http.ErrAbortHandler)
	}
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
	st := &Stream{w: s.patient(w), kind: kind}
	err := write(st)
	switch {
	case err == nil:
		_, err = st.Write(nil) // an empty result is a result
	case !st.started:
		return err
	}
	if err == nil {
		err = st.w.end()
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

// Write implements io.Writer.
func (st *Stream) Write(b []byte) (int, error) {
	if !st.started {
		st.started = true
		st.w.Header().Set("Content-Type", st.kind)
		st.w.WriteHeader(http.StatusOK)
	}
	return st.w.Write(b)
}

// streamPiece is how much has to arrive within one timeout, in bytes: little
// enough for a thin line.
const streamPiece = 64 << 10

// Flush sends what is buffered.
func (st *Stream) Flush() error { return st.w.flush() }
