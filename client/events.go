package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	fastjson "github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/core"
)

// Events follows a task's events with IDs greater than after, each exactly once
// and in order, until the task has ended. A broken stream is resumed after the
// last event seen (Last-Event-ID); a hub that stays away longer than the
// client's RetryFor ends the iteration with an error.
func (c *Client) Events(ctx context.Context, id core.TaskID, after int64) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		s := stream{c: c, id: id, last: after, yield: yield}
		if err := s.follow(ctx); err != nil && !errors.Is(err, errStop) {
			yield(api.Event{}, err)
		}
	}
}

// PastEvents lists the events so far with IDs greater than after.
func (c *Client) PastEvents(ctx context.Context, id core.TaskID, after int64) iter.Seq2[api.Event, error] {
	return list[api.Event](ctx, c, taskPath(id)+"/events", url.Values{"cursor": {strconv.FormatInt(after, 10)}})
}

// errStop means that the caller wants no more.
var errStop = errors.New("stop")

// stream is one iteration over a task's events.
type stream struct {
	c     *Client
	id    core.TaskID
	last  int64 // ID of the newest event yielded
	ended bool  // an event said that the task has ended
	yield func(api.Event, error) bool
}

// follow connects as often as it takes.
func (s *stream) follow(ctx context.Context) error {
	b := newBackOff()
	since := time.Now()
	for {
		before := s.last
		err := s.read(ctx)
		switch {
		case err == nil && (s.ended || s.last == before):
			// The hub ends the stream of an ended task, and only that. One
			// that it ended early is seen by asking again.
			if s.ended {
				return nil
			}
			if t, err := s.c.Task(ctx, s.id); err != nil || t.Ended() {
				return err
			}
		case err != nil && !passing(ctx, err):
			return err
		}
		if s.last > before {
			b.Reset()
			since = time.Now()
		}
		if err != nil && time.Since(since) > s.c.retryFor {
			return fmt.Errorf("events of %s after %d: %w", s.id, s.last, err)
		}
		select {
		case <-time.After(b.NextBackOff()):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read reads one connection's events to its end.
func (s *stream) read(ctx context.Context) error {
	k := get(taskPath(s.id)+"/events", nil)
	k.lastEventID = strconv.FormatInt(s.last, 10)
	res, err := s.c.once(ctx, k)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if t := res.Header.Get("Content-Type"); res.StatusCode != http.StatusNoContent && !strings.HasPrefix(t, "text/event-stream") {
		return fmt.Errorf("events of %s: the answer is %q, not an event stream", s.id, t)
	}
	lines := bufio.NewReaderSize(res.Body, 16<<10)
	var data []byte
	for {
		line, err := readLine(lines)
		switch {
		case errors.Is(err, io.EOF):
			return nil // an event without its empty line was cut off
		case errors.Is(err, errLong):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return &transportError{err}
		case len(line) == 0:
			if err := s.dispatch(data); err != nil {
				return err
			}
			data = data[:0]
		default:
			// Event IDs and types are in the data as well.
			if v, ok := bytes.CutPrefix(line, []byte("data:")); ok {
				if len(data)+len(v) > maxEvent {
					return errLong
				}
				data = append(append(data, bytes.TrimPrefix(v, []byte(" "))...), '\n')
			}
		}
	}
}

// dispatch hands one event on, unless it was seen before.
func (s *stream) dispatch(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	var e api.Event
	if err := fastjson.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("events of %s: not an event: %w", s.id, err)
	}
	if e.ID <= s.last {
		return nil
	}
	s.last = e.ID
	if state, ok := strings.CutPrefix(e.Type, "task."); ok {
		s.ended = (&api.Task{State: state}).Ended()
	}
	if !s.yield(e, nil) {
		return errStop
	}
	return nil
}

var errLong = fmt.Errorf("an event is longer than %d bytes", maxEvent)

// readLine returns the next line without its end. It fails with io.EOF also in
// the middle of one.
func readLine(r *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		line, err := r.ReadSlice('\n')
		if len(long)+len(line) > maxEvent {
			return nil, errLong
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, line...)
			continue
		}
		if err != nil {
			return nil, err
		}
		if long != nil {
			line = append(long, line...)
		}
		return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
	}
}
