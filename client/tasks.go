package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"atoll/api"
	"atoll/internal/core"
)

// SubmitOptions are what is said beside the specification.
type SubmitOptions struct {
	// Key is the Idempotency-Key; empty: a fresh one. Give one that survives a
	// restart of the caller, such as an order number, to submit once in all.
	Key string
	// Wait asks the hub to answer only when the task has ended, for at most so
	// long. A task that goes on is returned as it stands.
	Wait time.Duration
	// Traceparent (W3C) makes the task part of the caller's trace.
	Traceparent string
}

// Submit submits a task. It returns when the task is durable at the hub, or,
// with Wait, when it has ended.
func (c *Client) Submit(ctx context.Context, spec *api.TaskSpec, opt SubmitOptions) (api.SubmitReply, error) {
	body, err := json.Marshal(spec)
	if err != nil {
		return api.SubmitReply{}, fmt.Errorf("task specification: %w", err)
	}
	return c.SubmitJSON(ctx, body, opt)
}

// SubmitJSON is Submit for a specification that is JSON already.
func (c *Client) SubmitJSON(ctx context.Context, spec []byte, opt SubmitOptions) (reply api.SubmitReply, err error) {
	k := call{method: http.MethodPost, path: "/v1/submit-task", body: spec, traceparent: opt.Traceparent}
	k.idempotent(opt.Key)
	if opt.Wait > 0 {
		k.query = url.Values{"wait": {opt.Wait.String()}}
	}
	return reply, c.ask(ctx, k, &reply)
}

// Inline returns a pointer that carries data itself. For more than a few
// hundred kilobytes use PutBlob.
func Inline(data []byte) api.DataPointer {
	return api.DataPointer{URI: "data:;base64," + base64.StdEncoding.EncodeToString(data)}
}

// Blob returns a pointer to bytes that were stored with PutBlob.
func Blob(d core.Digest) api.DataPointer {
	return api.DataPointer{URI: "blob:" + d.String(), Digest: d}
}

func taskPath(id core.TaskID) string { return "/v1/tasks/" + id.String() }

// Task returns a task as it stands.
func (c *Client) Task(ctx context.Context, id core.TaskID) (t api.Task, err error) {
	return t, c.ask(ctx, get(taskPath(id), nil), &t)
}

// Tasks lists tasks, newest first; state may be empty.
func (c *Client) Tasks(ctx context.Context, state string) iter.Seq2[api.Task, error] {
	q := url.Values{}
	if state != "" {
		q.Set("state", state)
	}
	return list[api.Task](ctx, c, "/v1/tasks", q)
}

// Cancel ends a task. An ended task stays as it is.
func (c *Client) Cancel(ctx context.Context, id core.TaskID) (t api.Task, err error) {
	return t, c.ask(ctx, call{method: http.MethodDelete, path: taskPath(id), safe: true}, &t)
}

// Parts lists a task's parts in order.
func (c *Client) Parts(ctx context.Context, id core.TaskID) iter.Seq2[api.Part, error] {
	return list[api.Part](ctx, c, taskPath(id)+"/parts", nil)
}

// Leases lists a task's leases by part.
func (c *Client) Leases(ctx context.Context, id core.TaskID) iter.Seq2[api.Lease, error] {
	return list[api.Lease](ctx, c, taskPath(id)+"/leases", nil)
}

// Receipts lists a task's receipts by part.
func (c *Client) Receipts(ctx context.Context, id core.TaskID) iter.Seq2[api.ReceiptRef, error] {
	return list[api.ReceiptRef](ctx, c, taskPath(id)+"/receipts", nil)
}

// Wait returns the task when it has ended. It follows the task's events, so it
// neither polls nor misses the end.
func (c *Client) Wait(ctx context.Context, id core.TaskID) (api.Task, error) {
	for _, err := range c.Events(ctx, id, 0) {
		if err != nil {
			return api.Task{}, err
		}
	}
	return c.Task(ctx, id)
}

// Result writes the results of all parts, in order, to w. It fails with a
// Problem of status 409 while the task has not succeeded. An error after the
// first byte leaves a part of the result in w.
func (c *Client) Result(ctx context.Context, id core.TaskID, w io.Writer) error {
	res, err := c.open(ctx, get(taskPath(id)+"/result", nil))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.Copy(w, res.Body)
	if err == nil && res.ContentLength >= 0 && n != res.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("result of %s, after %d bytes: %w", id, n, err)
	}
	return nil
}

// PartResult returns the result of one part, also of a task that goes on.
func (c *Client) PartResult(ctx context.Context, id core.TaskID, part int) ([]byte, error) {
	return c.bytes(ctx, get(taskPath(id)+"/result", url.Values{"part": {strconv.Itoa(part)}}))
}
