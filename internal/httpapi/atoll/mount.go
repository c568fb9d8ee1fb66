package atoll

import (
	"bytes"
	"io"
	"net/http"

	"atoll/api"
	"atoll/internal/auth"
)

// Mount is a route of another API on the same server. It has the same request IDs,
// keys, rate limits, logs and spans, and errors in that API's own form.
type Mount struct {
	Method, Path string // as http.ServeMux takes them
	ID, Summary  string // for the OpenAPI document, which says no more of it
	Tag          string
	Scope        string // needed of the key
	Serve        func(*Exchange) error
	// Fail writes an error as the answer. Headers are set, but for the content type.
	Fail func(http.ResponseWriter, *api.Problem)
}

// Exchange is one request to a mounted route.
type Exchange struct {
	W         http.ResponseWriter
	R         *http.Request
	Principal *auth.Principal
	s         *server
}

// Viewer is on whose behalf the request is made.
func (x *Exchange) Viewer() Viewer { return viewerOf(x.Principal) }

// JSON reads a JSON body of at most limit bytes, which has to arrive in time.
func (x *Exchange) JSON(limit int64) ([]byte, error) {
	var buf bytes.Buffer
	err := x.s.readBody(x.W, x.R, &buf, limit)
	return buf.Bytes(), err
}

// Upload has a body of at most limit bytes read, each piece of which has to arrive
// in time.
func (x *Exchange) Upload(limit int64, read func(io.Reader) error) error {
	if err := checkEncoding(x.W, x.R.Header); err != nil {
		return err
	}
	if x.R.ContentLength > limit {
		return tooLarge(limit)
	}
	u := x.s.upload(x.W, x.R, limit)
	return u.done(read(u))
}

// Problem is what the client may know of an error that can no longer be the answer.
func (x *Exchange) Problem(err error) *api.Problem { return x.s.prepare(x.W, x.R, err) }

// IdempotencyKey is the header's value; empty if none was sent.
func (x *Exchange) IdempotencyKey() (string, error) { return idempotencyKey(x.R.Header) }

// Stream answers with what write writes. Its error is the answer if nothing was
// written before; otherwise the answer is cut off.
func (x *Exchange) Stream(contentType string, write func(*Stream) error) error {
	return x.s.stream(x.W, x.R, contentType, write)
}

func (s *server) addMounts() {
	for _, m := range s.cfg.Mounts {
		rt := route{method: m.Method, path: m.Path, id: m.ID, summary: m.Summary, tag: m.Tag, scope: m.Scope, fail: m.Fail}
		rt.serve = func(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
			if err := m.Serve(&Exchange{W: w, R: r, Principal: p, s: s}); err != nil {
				s.failAs(w, r, err, m.Fail)
			}
		}
		addRaw[none, none](s, rt)
	}
}
