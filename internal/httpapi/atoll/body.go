package atoll

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"atoll/api"
)

// buffers are reused for bodies and answers of the usual size.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= keepBuffer {
		b.Reset()
		buffers.Put(b)
	}
}

// readJSON reads a small JSON body into v.
func (s *server) readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	buf := buffers.Get().(*bytes.Buffer)
	defer putBuffer(buf)
	if err := s.readBody(w, r, buf, maxSmallBody); err != nil {
		return err
	}
	return api.Decode(buf.Bytes(), v)
}

// readBody reads a JSON body of at most limit bytes. Memory grows only with what
// has arrived.
func (s *server) readBody(w http.ResponseWriter, r *http.Request, buf *bytes.Buffer, limit int64) error {
	if err := checkJSON(r.Header); err != nil {
		return err
	}
	if err := checkEncoding(w, r.Header); err != nil {
		return err
	}
	if r.ContentLength > limit {
		s.drain(w, r)
		return tooLarge(limit)
	}
	if r.ContentLength > 0 {
		buf.Grow(int(min(r.ContentLength, keepBuffer/2)) + bytes.MinRead)
	}
	c := http.NewResponseController(w)
	if err := setDeadline(c.SetReadDeadline, s.cfg.BodyTimeout); err != nil {
		return err
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		return bodyError(err)
	}
	// The connection is still watched for the client's going away.
	return setDeadline(c.SetReadDeadline, 0)
}

// maxDrained bounds what is read of a body only to throw it away.
const maxDrained = 64 << 20

// drain reads a body that is too long, so that a client which sends all before it
// reads sees why it is refused, and not a broken connection. One that asks first
// (Expect: 100-continue) is told before it sends.
func (s *server) drain(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > maxDrained || r.Header.Get("Expect") != "" {
		return
	}
	set := http.NewResponseController(w).SetReadDeadline
	if setDeadline(set, s.cfg.BodyTimeout) != nil {
		return
	}
	_, err := io.Copy(io.Discard, r.Body)
	if err == nil {
		err = setDeadline(set, 0)
	}
	if err != nil {
		w.Header().Set("Connection", "close") // what is left of it is no request
	}
}

// setDeadline sets a deadline from now, or none if d is 0. Not every
// ResponseWriter has deadlines; a real connection does.
func setDeadline(set func(time.Time) error, d time.Duration) error {
	at := time.Time{}
	if d > 0 {
		at = time.Now().Add(d) // the connection's clock, not the configured one
	}
	if err := set(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

func checkJSON(h http.Header) error {
	v := h["Content-Type"]
	if len(v) == 0 || v[0] == "application/json" {
		return nil
	}
	if t, _, err := mime.ParseMediaType(v[0]); err == nil && t == "application/json" {
		return nil
	}
	return problem(http.StatusUnsupportedMediaType, "unsupported-media-type", "the body is not said to be JSON", "send Content-Type: application/json")
}

// checkEncoding refuses compressed bodies: a few kilobytes can unfold to
// gigabytes, and what is sent must have the digest that is asked for.
func checkEncoding(w http.ResponseWriter, h http.Header) error {
	if v := h["Content-Encoding"]; len(v) == 0 || (len(v) == 1 && v[0] == "identity") {
		return nil
	}
	w.Header().Set("Accept-Encoding", "identity") // RFC 9110, 15.5.16
	return problem(http.StatusUnsupportedMediaType, "unsupported-media-type", "compressed bodies are not accepted", "send the body as it is, without Content-Encoding")
}

// upload is a request body that may be long: each piece has to arrive in time.
type upload struct {
	r       io.Reader
	extend  func(time.Time) error
	timeout time.Duration
	err     error // of the connection, not of what reads from it
}

func (s *server) upload(w http.ResponseWriter, r *http.Request, limit int64) *upload {
	return &upload{r: http.MaxBytesReader(w, r.Body, limit), extend: http.NewResponseController(w).SetReadDeadline, timeout: s.cfg.BodyTimeout}
}

func (u *upload) Read(b []byte) (int, error) {
	if err := setDeadline(u.extend, u.timeout); err != nil {
		return 0, err
	}
	n, err := u.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		u.err = bodyError(err)
		return n, u.err
	}
	return n, err
}

// done ends the watch. A failure of the connection explains whatever failed
// because of it.
func (u *upload) done(err error) error {
	if u.err != nil {
		return u.err
	}
	return errors.Join(err, setDeadline(u.extend, 0))
}
