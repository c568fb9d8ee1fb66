package openai

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/api"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
)

// form is how one of the two kinds of completion is written.
type form interface {
	whole(h head, answers []answer, usage openaiwire.Usage) any
	// chunks are the events of what an answer has grown by; first says that there
	// was none of it before.
	chunks(h head, d *delta, first bool) []any
	usage(h head, u openaiwire.Usage) any
}

// head is what all of an answer's objects begin with.
type head struct {
	id, model, fingerprint string
	created                int64
}

func headOf(t *api.Task) head {
	return head{id: t.ID.String(), model: t.Model, fingerprint: "fp_" + t.ModelDigest.Hex()[:12], created: t.CreatedAt.Unix()}
}

// newWork completes what was read of a request.
func (s *server) newWork(r *openaiwire.Request, extra map[string]jsontext.Value, prompts []line) (*work, error) {
	w := &work{model: r.Model, each: 1, stream: r.Stream, usage: r.StreamOptions != nil && r.StreamOptions.IncludeUsage}
	var err error
	if w.own, err = readOwn(extra); err != nil {
		return nil, err
	}
	if r.N != nil {
		w.each = *r.N
	}
	return w, w.choices(prompts)
}

// complete does the work and answers.
func (s *server) complete(x *atoll.Exchange, w *work, body []byte, f form) error {
	t, err := s.submit(x, w, body)
	if err != nil {
		return err
	}
	if w.stream {
		return s.stream(x, w, &t, f)
	}
	result, err := s.await(x, w, t.ID)
	if err != nil {
		return err
	}
	answers, err := readAnswers(result, numbered(len(w.lines)))
	if err != nil {
		return err
	}
	sum := tally{each: w.each}
	for i := range answers {
		sum.add(i, &answers[i])
	}
	return reply(x, f.whole(headOf(&t), answers, sum.usage()))
}

// reply answers with JSON.
func reply(x *atoll.Exchange, v any) error {
	var buf bytes.Buffer
	if err := json.MarshalWrite(&buf, v); err != nil {
		return err
	}
	h := x.W.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	x.W.WriteHeader(http.StatusOK)
	_, _ = x.W.Write(buf.Bytes()) // fails only when the client has gone
	return nil
}
