package openai

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
)

// heartbeat is how long a stream that has begun is silent at most.
const heartbeat = 15 * time.Second

// stream answers with events while the task runs. What a node tells of its result
// is sent on at once; the result itself decides whether that was true.
func (s *server) stream(x *atoll.Exchange, w *work, t *api.Task, f form) error {
	x.W.Header()["X-Accel-Buffering"] = []string{"no"} // proxies must not hold events back
	return x.Stream("text/event-stream", func(st *atoll.Stream) error {
		e := &events{s: s, x: x, w: w, st: st, form: f, head: headOf(t), read: newGrowing(len(w.lines)), sum: tally{each: w.each}}
		err := e.follow(t.ID)
		if x.R.Context().Err() != nil || errors.Is(err, errWrite) {
			if !w.own.Keep {
				s.abandon(x.R.Context(), x, t.ID)
			}
			return err
		}
		if err != nil && st.Started() {
			return e.send(errorOf(x.Problem(err)))
		}
		return err
	})
}

// errWrite means that the client did not take what was sent.
var errWrite = errors.New("the client does not take the answer")

// events writes the events of one answer.
type events struct {
	s    *server
	x    *atoll.Exchange
	w    *work
	st   *atoll.Stream
	form form
	head head
	read *growing
	sum  tally
	buf  []byte
	sent int // answers of which something was sent
}

// errContradicted ends a stream whose beginning turned out to be another's.
var errContradicted = core.Errorf(core.Internal, "the answer is not what was sent of it before").WithHint("ask again; GET /v1/tasks/{id}/result has the answer that counts")

// follow sends the answer from its beginning to its end.
func (e *events) follow(id core.TaskID) error {
	if err := e.preview(id); err != nil {
		return err
	}
	result, err := e.s.await(e.x, e.w, id)
	if err != nil {
		return err
	}
	if !e.read.begins(result) {
		if e.sent > 0 {
			return errContradicted
		}
		e.read, e.sum = newGrowing(len(e.w.lines)), tally{each: e.w.each}
	}
	if err := e.say(result[e.read.seen:]); err != nil {
		return err
	}
	if e.read.line != len(e.w.lines) {
		return core.Errorf(core.Internal, "the model has not answered everything")
	}
	if e.w.usage {
		if err := e.send(e.form.usage(e.head, e.sum.usage())); err != nil {
			return err
		}
	}
	e.buf = append(e.buf, openaiwire.Done...)
	return e.flush()
}

// preview sends what nodes tell, until the task has ended.
func (e *events) preview(id core.TaskID) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	ctx := e.x.R.Context()
	for {
		more, changed := e.s.hub.Preview(e.x.Viewer(), id, e.read.seen)
		switch err := e.say(more); {
		case errors.Is(err, errWrite):
			return err
		case err != nil || changed == nil:
			return nil // what cannot be read is no answer: the result decides
		}
		select {
		case <-changed:
		case <-beat.C:
			if e.st.Started() {
				e.buf = append(e.buf, ": still here\n\n"...)
				if err := e.flush(); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// say sends what the answers have grown by.
func (e *events) say(more []byte) error {
	deltas, err := e.read.add(more)
	if err != nil {
		return err
	}
	for i := range deltas {
		d := &deltas[i]
		if d.done != nil {
			e.sum.add(d.index, d.done)
		}
		for _, chunk := range e.form.chunks(e.head, d, d.index == e.sent) {
			if err := e.append(chunk); err != nil {
				return err
			}
		}
		e.sent = max(e.sent, d.index+1)
	}
	return e.flush()
}

func (e *events) append(chunk any) error {
	b, err := json.Marshal(chunk)
	e.buf = openaiwire.AppendEvent(e.buf, b)
	return err
}

func (e *events) send(chunk any) error {
	if err := e.append(chunk); err != nil {
		return err
	}
	return e.flush()
}

// flush sends what waits. The client has to take it in time.
func (e *events) flush() error {
	if len(e.buf) == 0 {
		return nil
	}
	_, err := e.st.Write(e.buf)
	if err == nil {
		err = e.st.Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	e.buf = e.buf[:0]
	return nil
}
