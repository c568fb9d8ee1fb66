package openai

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	jsonv2 "github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
	"atoll/internal/request"
)

// Limits of a batch.
const (
	maxRequests  = 50_000    // as in OpenAI's API
	maxBatchLine = 4 << 20   // bytes of a request
	maxBatchData = 256 << 20 // bytes of all requests, as the engine is given them
	maxPartData  = 8 << 20
	maxPartLines = 4096
	maxEach      = 1024
	maxCustomID  = 128 // bytes
)

// endpoint is one of the kinds of request that a batch can be of.
type endpoint struct {
	mode string // of the engine
	read func(s *server, body []byte) (*work, error)
	form form // nil: vectors
}

var endpoints = map[string]*endpoint{
	"/v1/chat/completions": {read: (*server).readChat, form: chatForm{}},
	"/v1/completions":      {read: (*server).readText, form: textForm{}},
	"/v1/embeddings":       {read: (*server).readEmbeddings, mode: "embed"},
}

// params are those that a batch's task has whatever else it is asked to have.
func (e *endpoint) params() map[string]json.RawMessage {
	out := map[string]json.RawMessage{"on_error": json.RawMessage(`"answer"`)}
	if e.mode != "" {
		out["mode"] = json.RawMessage(`"` + e.mode + `"`)
	}
	return out
}

// batchInput is a batch's requests as lines for the engine.
type batchInput struct {
	model  string
	base64 bool
	data   []byte
	ends   []requestEnd
	ids    map[string]bool
}

// requestEnd is where the lines of a request end.
type requestEnd struct {
	byte  int64
	lines int // up to there
}

// readInput reads a batch's file and completes b: how many requests there are, and
// how many of them fit into a part.
func (s *server) readInput(x *atoll.Exchange, b *request.Batch) (*batchInput, error) {
	f, err := s.hub.File(x.R.Context(), x.Viewer(), b.Input)
	if err != nil {
		return nil, at(err, "input_file_id")
	}
	if f.Purpose != purposeBatch {
		return nil, invalid("input_file_id", "the file's purpose is %s, want batch", f.Purpose)
	}
	r, err := s.hub.OpenFile(&f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	in := &batchInput{ids: map[string]bool{}}
	if err := in.readAll(s, b.Endpoint, r); err != nil {
		return nil, at(err, "input_file_id")
	}
	b.Requests, b.Base64 = len(in.ends), in.base64
	for b.Each > 1 && !in.fits(b.Each) {
		b.Each /= 2
	}
	if !in.fits(b.Each) {
		return nil, invalid("input_file_id", "a request of over %d bytes", maxPartData)
	}
	return in, nil
}

func at(err error, field string) error {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return e.At(field)
	}
	return err
}

func (in *batchInput) readAll(s *server, url string, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxBatchLine)
	n := 0
	for lines.Scan() {
		n++
		b := lines.Bytes()
		if n == 1 {
			b = bytes.TrimPrefix(b, []byte("\uFEFF"))
		}
		if b = bytes.TrimSpace(b); len(b) == 0 {
			continue
		}
		switch err := in.add(s, url, b); {
		case err != nil:
			return inLine(n, err)
		case len(in.ends) > maxRequests:
			return core.Errorf(core.TooLarge, "over %d requests", maxRequests)
		case len(in.data) > maxBatchData:
			return core.Errorf(core.TooLarge, "over %d bytes of requests", maxBatchData)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return core.Errorf(core.TooLarge, "line %d: over %d bytes", n+1, maxBatchLine)
	case err != nil:
		return err
	case len(in.ends) == 0:
		return core.Errorf(core.Invalid, "the file has no requests")
	}
	return nil
}

// inLine says in which line something is wrong, and where in it.
func inLine(n int, err error) error {
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		return err
	}
	where := ""
	if e.Field != "" {
		where = ", " + e.Field
	}
	return core.Errorf(e.Kind, "line %d%s: %s", n, where, e.Message)
}

// add reads one request.
func (in *batchInput) add(s *server, url string, line []byte) error {
	var l openaiwire.BatchLine
	if err := api.Decode(line, &l); err != nil {
		return err
	}
	switch {
	case l.CustomID == "" || len(l.CustomID) > maxCustomID:
		return invalid("custom_id", "want 1 to %d bytes", maxCustomID)
	case in.ids[l.CustomID]:
		return invalid("custom_id", "%q is another request's already", l.CustomID)
	case l.Method != http.MethodPost:
		return invalid("method", "want POST")
	case l.URL != url:
		return invalid("url", "want the batch's endpoint, %s", url)
	case l.Body.Kind() != '{':
		return invalid("body", "want an object")
	}
	w, err := endpoints[url].read(s, l.Body)
	if err != nil {
		return within("body", err)
	}
	if len(in.ends) == 0 {
		in.model, in.base64 = w.model, w.base64
	}
	switch {
	case w.stream:
		return invalid("body.stream", "a batch's requests are not streamed")
	case w.own.said:
		return invalid("body."+ownField, "say it once for all: in the batch's own field %s", ownField)
	case w.model != in.model:
		return invalid("body.model", "%q, and %q before: a batch has one model", w.model, in.model)
	case w.base64 != in.base64:
		return invalid("body.encoding_format", "a batch has one")
	}
	in.ids[l.CustomID] = true
	return in.write(l.CustomID, w)
}

// write adds a request's lines.
func (in *batchInput) write(id string, w *work) error {
	for _, l := range w.lines {
		l.setID(id)
		b, err := jsonv2.Marshal(l)
		if err != nil {
			return err
		}
		if in.data = append(append(in.data, b...), '\n'); len(in.data) > maxBatchData {
			break // readAll refuses it: a request may become very many lines
		}
	}
	before := 0
	if n := len(in.ends); n > 0 {
		before = in.ends[n-1].lines
	}
	in.ends = append(in.ends, requestEnd{int64(len(in.data)), before + len(w.lines)})
	return nil
}

// fits reports whether parts of so many requests are what engines take.
func (in *batchInput) fits(each int) bool {
	last := requestEnd{}
	for i := each - 1; ; i += each {
		end := in.ends[min(i, len(in.ends)-1)]
		if end.byte-last.byte > maxPartData || end.lines-last.lines > maxPartLines {
			return false
		}
		if last = end; i >= len(in.ends)-1 {
			return true
		}
	}
}

// parts are where parts of so many requests end.
func (in *batchInput) parts(each int) []int64 {
	var out []int64
	for i := each - 1; ; i += each {
		out = append(out, in.ends[min(i, len(in.ends)-1)].byte)
		if i >= len(in.ends)-1 {
			return out
		}
	}
}
