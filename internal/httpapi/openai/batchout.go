package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
	"atoll/internal/request"
)

// Output and errors of a batch are not kept: they are written anew from the results
// of its parts whenever they are asked for.

// batchWriter writes what has come of each request of a batch, in their order: to
// output what has been answered, to failures what has not.
type batchWriter struct {
	s        *server
	b        *request.Batch
	t        *api.Task
	viewer   request.Viewer
	output   io.Writer
	failures io.Writer
	done     request.BatchDone // so far
}

// finishBatch counts what has come of a batch that has ended.
func (s *server) finishBatch(x *atoll.Exchange, b *request.Batch, t *api.Task) (*request.Batch, error) {
	ctx := x.R.Context()
	done, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var output, failures counter
	w := &batchWriter{s: s, b: b, t: t, viewer: x.Viewer(), output: &output, failures: &failures}
	if err := w.write(ctx); err != nil {
		return nil, err
	}
	id := batchID(b.Task)
	counted, err := s.hub.FinishBatch(ctx, b.Task, w.done,
		request.File{Name: id + "_output.jsonl", Purpose: purposeOutput, Size: int64(output)},
		request.File{Name: id + "_error.jsonl", Purpose: purposeOutput, Size: int64(failures)})
	return &counted, err
}

// counter counts bytes.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// writeBatchFile writes a file that a batch has made.
func (s *server) writeBatchFile(x *atoll.Exchange, f *request.File, to io.Writer) error {
	ctx := x.R.Context()
	b, err := s.hub.Batch(ctx, x.Viewer(), f.Batch)
	if err != nil {
		return err
	}
	t, err := s.hub.Task(ctx, x.Viewer(), f.Batch)
	if err != nil {
		return err
	}
	w := &batchWriter{s: s, b: &b, t: &t, viewer: x.Viewer(), output: io.Discard, failures: io.Discard}
	if b.Done != nil && f.ID == b.Done.Errors {
		w.failures = to
	} else {
		w.output = to
	}
	return w.write(ctx)
}

// write goes through all parts.
func (w *batchWriter) write(ctx context.Context) error {
	for cursor := ""; ; {
		parts, next, err := w.s.hub.Parts(ctx, w.viewer, w.b.Task, request.Page{Cursor: cursor, Limit: 256})
		if err != nil {
			return err
		}
		for i := range parts {
			if err := w.part(ctx, &parts[i]); err != nil {
				return err
			}
		}
		if cursor = next; cursor == "" {
			return nil
		}
	}
}

// part writes what has come of a part's requests. Those of a part that has no result
// have failed for its reason; so have those that its result, which a stranger has
// made, does not answer.
func (w *batchWriter) part(ctx context.Context, p *api.Part) error {
	var input bytes.Buffer
	if err := w.s.hub.PartInput(ctx, w.viewer, w.b.Task, p.Index, &input); err != nil {
		return err
	}
	asked, err := readAsked(input.Bytes())
	if err != nil {
		return err
	}
	result := new(bytes.Buffer)
	if p.State == "succeeded" {
		b, err := w.s.result(ctx, w.viewer, w.b.Task, p.Index)
		switch {
		case errors.Is(err, errLong): // answers nothing
		case err != nil:
			return err
		default:
			result = bytes.NewBuffer(b)
		}
	}
	for i, ids := range asked {
		a := openaiwire.BatchAnswer{ID: w.requestID(p.Index, i), CustomID: ids[0].ID.(string)}
		if p.State != "succeeded" {
			a.Error = w.unanswered(p)
		} else if err := w.answer(&a, nextLines(result, len(ids)), ids); err != nil {
			w.refused(&a, err)
		}
		if err := w.put(&a); err != nil {
			return err
		}
	}
	return nil
}

// requestID names a request of the batch for its receipts: the task, and its place.
func (w *batchWriter) requestID(part, i int) string {
	return w.b.Task.String() + "-" + strconv.Itoa(part*w.b.Each+i)
}

// readAsked reads which requests a part had, each with the lines it was made into.
func readAsked(input []byte) (asked [][]lineID, err error) {
	for b := range bytes.Lines(input) {
		var l struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(bytes.TrimSpace(b), &l); err != nil {
			return nil, fmt.Errorf("input of a batch: %w", err)
		}
		if n := len(asked); n > 0 && asked[n-1][0].ID == l.ID {
			asked[n-1] = append(asked[n-1], lineID{l.ID})
		} else {
			asked = append(asked, []lineID{{l.ID}})
		}
	}
	return asked, nil
}

// nextLines takes n lines.
func nextLines(b *bytes.Buffer, n int) []byte {
	rest := b.Bytes()
	end := 0
	for ; n > 0 && end < len(rest); n-- {
		i := bytes.IndexByte(rest[end:], '\n')
		if i < 0 {
			i = len(rest) - end - 1
		}
		end += i + 1
	}
	return b.Next(end)
}

// answer reads the answer to one request.
func (w *batchWriter) answer(a *openaiwire.BatchAnswer, result []byte, ids []lineID) error {
	a.Response = &openaiwire.BatchResponse{StatusCode: http.StatusOK, RequestID: a.ID}
	form := endpoints[w.b.Endpoint].form
	if form == nil {
		body, err := vectors(w.t.Model, result, ids, w.b.Base64)
		a.Response.Body = body
		return err
	}
	answers, err := readAnswers(result, ids)
	if err != nil {
		return err
	}
	sum := tally{each: len(answers)}
	for i := range answers {
		sum.add(i, &answers[i])
	}
	head := headOf(w.t)
	head.id = a.ID
	a.Response.Body = form.whole(head, answers, sum.usage())
	return nil
}

// refused says of a request what it would have been told if it had been sent by
// itself.
func (w *batchWriter) refused(a *openaiwire.BatchAnswer, err error) {
	p := problemOf(err)
	a.Response = &openaiwire.BatchResponse{StatusCode: p.Status, RequestID: a.ID, Body: errorOf(p)}
}

// unanswered says why no request of a part was answered.
func (w *batchWriter) unanswered(p *api.Part) *openaiwire.BatchError {
	switch w.t.State {
	case "expired":
		return &openaiwire.BatchError{Code: "batch_expired", Message: "this request could not be done in time: " + p.Reason}
	case "cancelled":
		return &openaiwire.BatchError{Code: "batch_cancelled", Message: "the batch was cancelled before this request was done"}
	}
	return &openaiwire.BatchError{Code: "server_error", Message: p.Reason}
}

func (w *batchWriter) put(a *openaiwire.BatchAnswer) error {
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	to := w.output
	if a.Error != nil || a.Response.StatusCode != http.StatusOK {
		to = w.failures
		w.done.Failed++
	} else {
		w.done.Completed++
	}
	_, err = to.Write(append(line, '\n'))
	return err
}

// problemOf is an error that is told within an answer.
func problemOf(err error) *api.Problem {
	if core.KindOf(err) == core.Internal {
		return &api.Problem{Status: http.StatusInternalServerError, Type: string(core.Internal), Detail: err.Error()}
	}
	return &api.Problem{Status: http.StatusBadRequest, Type: string(core.Invalid), Detail: err.Error()}
}
