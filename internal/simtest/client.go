package simtest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"atoll/api"
	"atoll/internal/control"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
)

// client is a requester. It keeps a log of what it was told, and that log is
// the judge's measure.
type client struct {
	w       *World
	account core.AccountID
	link    link
	jobs    []*job
}

// job is one task that a client wants done once.
type job struct {
	client *client
	key    string
	spec   *api.TaskSpec
	body   core.Digest
	parts  []string // their inputs
	probe  bool     // nothing stands in its way: it must succeed
	line   bool     // several nodes are to compute it together

	// What the client was told.
	task    core.TaskID // acknowledged
	refused error       // a final no, and nothing else since
	ended   *api.Task   // the first end that it saw
	result  []byte      // seen together with a success

	cancelled bool // the client asked for it, whether or not it was heard
	tries     int
}

func (j *job) name() string { return string(j.client.account) + "/" + j.key }

// askAgain is how long a client waits for an answer.
const askAgain = 1200 * time.Millisecond

// call is a request to the hub and its answer, either of which may be lost, late
// or doubled. ask is what the hub does; it returns what the client does when the
// answer arrives. A hub that crashes meanwhile gives no answer, unless it had the
// answer yes before: that may be on its way.
func (c *client) call(what string, ask func(*control.Control) (answered func(), err error)) {
	c.w.carry(&c.link, what, func() {
		var answered func()
		err := errors.New("not asked")
		_, alive := c.w.hub.serve(func(hub *control.Control) error {
			answered, err = ask(hub)
			return nil
		})
		if alive || err == nil {
			c.w.carry(&c.link, "the answer to "+what, answered)
		}
	})
}

// submit asks until there is an answer, always with the same key.
func (j *job) submit() {
	c := j.client
	if j.task != 0 || j.refused != nil {
		return
	}
	j.tries++
	c.call("submit "+j.name(), func(hub *control.Control) (func(), error) {
		reply, err := hub.Submit(context.Background(), atoll.Submission{Account: c.account, Key: j.key, Body: j.body, Spec: j.spec})
		return func() { j.answered(reply, err) }, err
	})
	c.w.after(askAgain, j.submit)
}

func (j *job) answered(reply api.SubmitReply, err error) {
	w := j.client.w
	switch {
	case err != nil && final(err):
		w.say("client %s: refused: %v", j.name(), err)
		switch {
		case j.task == 0:
			j.refused = err
		case !passing(err):
			w.violation("%s was acknowledged as %s and is then refused: %v", j.name(), j.task, err)
		}
	case err != nil:
		w.say("client %s: no use: %v", j.name(), err)
	case j.task != 0 && j.task != reply.ID:
		w.violation("%s was acknowledged as %s and then as %s", j.name(), j.task, reply.ID)
	case j.task == 0:
		w.say("client %s: acknowledged as %s", j.name(), reply.ID)
		j.task, j.refused = reply.ID, nil
		j.look()
	}
}

// passing reports whether a refusal holds for its moment only: a copy of the
// request that came at another time may have been accepted.
func passing(err error) bool {
	var e *core.Error
	return errors.As(err, &e) && e.Kind == core.Insufficient
}

// final reports whether an error means that asking again is no use.
func final(err error) bool {
	var e *core.Error
	return errors.As(err, &e) && e.Kind != core.Unavailable
}

// look asks now and then how the task does, until it has ended.
func (j *job) look() {
	if j.ended != nil {
		return
	}
	c := j.client
	v := atoll.Viewer{Account: c.account}
	c.call("look at "+j.name(), func(hub *control.Control) (func(), error) {
		var result []byte
		t, err := hub.Task(context.Background(), v, j.task)
		if err == nil && t.State == "succeeded" {
			result, err = readResult(hub, v, j.task)
		}
		return func() { j.saw(t, result, err) }, err
	})
	c.w.after(c.w.between(askAgain, 2*askAgain), j.look)
}

func (j *job) saw(t api.Task, result []byte, err error) {
	w := j.client.w
	switch {
	case err != nil && final(err):
		w.violation("%s was acknowledged as %s, and then: %v", j.name(), j.task, err)
	case err != nil || !t.Ended():
	case j.ended == nil:
		w.say("client %s: sees %s: %s", j.name(), t.State, t.Reason)
		j.ended, j.result = &t, result
	case j.ended.State != t.State:
		w.violation("%s ended as %s and is then %s", j.name(), j.ended.State, t.State)
	}
}

// cancel asks, once, that the task be ended.
func (j *job) cancel() {
	if j.task == 0 || j.ended != nil {
		return
	}
	j.cancelled = true
	c := j.client
	c.call("cancel "+j.name(), func(hub *control.Control) (func(), error) {
		_, err := hub.Cancel(context.Background(), atoll.Viewer{Account: c.account}, j.task)
		return func() { c.w.say("client %s: cancel: %v", j.name(), err) }, err
	})
}

// misuse sends another request under the same key, which must be refused.
func (j *job) misuse() {
	if j.task == 0 {
		return
	}
	c := j.client
	other := core.DigestOf([]byte("another body"))
	c.call("misuse the key of "+j.name(), func(hub *control.Control) (func(), error) {
		reply, err := hub.Submit(context.Background(), atoll.Submission{Account: c.account, Key: j.key, Body: other, Spec: j.spec})
		return func() {
			if err == nil {
				c.w.violation("the key of %s served for another request: %s", j.name(), reply.ID)
			}
		}, err
	})
}

// newJob draws a task.
func (w *World) newJob(c *client, i int) *job {
	r := w.rng
	j := &job{client: c, key: fmt.Sprintf("key-%d", i)}
	parts := 1
	if w.chance(0.5) {
		parts += r.IntN(4)
	}
	var text strings.Builder
	for p := range parts {
		line := fmt.Sprintf("work %d.%d\n", i, p)
		if w.chance(0.04) {
			line = "bad " + line
		}
		j.parts = append(j.parts, line)
		text.WriteString(line)
	}
	spec := api.TaskSpec{
		Model: "model@1", Input: []api.DataPointer{{URI: "data:;base64," + base64.StdEncoding.EncodeToString([]byte(text.String()))}},
		Timeout: &api.Timeout{
			Queue: api.Duration(w.between(3*time.Second, 40*time.Second)), Execution: api.Duration(w.between(time.Second, 10*time.Second)),
			Total: api.Duration(w.between(15*time.Second, 90*time.Second)),
		},
		Retry:      &api.Retry{MaxAttempts: 1 + r.IntN(5)},
		Disconnect: &api.Disconnect{LostAfter: api.Duration(w.between(time.Second, 4*time.Second)), Replace: new(w.chance(0.85))},
		Budget:     &api.Budget{MaxCost: core.Money(1+r.Int64N(20)) * core.Credit},
	}
	if parts > 1 {
		spec.Split = &api.Split{Lines: 1}
	}
	switch n := r.IntN(10); {
	case n < 5:
		spec.Verification = &api.Verification{Method: "quorum", Replicas: 2 + r.IntN(2)}
	case n < 8:
		spec.Verification = &api.Verification{Method: "reexecute", Rate: 1} // less would be drawn anew in each run
	}
	if w.chance(0.3) {
		spec.Residency = [][]string{{"EU"}, {"DE"}, {"US", "JP"}}[r.IntN(3)]
	}
	if w.chance(0.2) {
		spec.SLA = &api.SLA{Latency: api.Duration(w.between(time.Second, 2*time.Second)), Penalty: "20%"}
	}
	j.take(spec)
	return j
}

// newLineJob draws a task for the nodes that hold a model together.
func (w *World) newLineJob(c *client, i int) *job {
	j := &job{client: c, key: fmt.Sprintf("key-%d", i), line: true}
	var text strings.Builder
	for n := range 1 + w.rng.IntN(3) {
		fmt.Fprintf(&text, "%s\"%d.%d\"}\n", lineTask, i, n)
	}
	j.parts = []string{text.String()}
	spec := api.TaskSpec{
		Model: "model@1", Input: []api.DataPointer{{URI: "data:;base64," + base64.StdEncoding.EncodeToString([]byte(text.String()))}},
		Placement: &api.Placement{Line: lineService},
		Timeout: &api.Timeout{
			Queue: api.Duration(w.between(10*time.Second, 40*time.Second)), Execution: api.Duration(w.between(3*time.Second, 15*time.Second)),
			Total: api.Duration(w.between(40*time.Second, 120*time.Second)),
		},
		Retry:      &api.Retry{MaxAttempts: 1 + w.rng.IntN(5)},
		Disconnect: &api.Disconnect{LostAfter: api.Duration(w.between(time.Second, 4*time.Second))},
		Budget:     &api.Budget{MaxCost: core.Money(5+w.rng.Int64N(20)) * core.Credit},
	}
	if w.chance(0.8) {
		spec.Verification = &api.Verification{Method: "reexecute", Rate: 1}
	}
	j.take(spec)
	return j
}

// take fixes what the client will send.
func (j *job) take(spec api.TaskSpec) {
	if err := spec.Validate(); err != nil {
		panic("simtest: made an invalid task: " + err.Error())
	}
	full := spec.WithDefaults()
	body, err := json.Marshal(full)
	if err != nil {
		panic("simtest: " + err.Error())
	}
	j.spec, j.body = &full, core.DigestOf(body)
}

// probe has the healed network do one more task, with which nothing may go
// wrong: that it does shows that nothing is wedged.
func (w *World) probe() {
	c := w.clients[0]
	j := &job{client: c, key: "probe", parts: []string{"probe\n"}, probe: true}
	j.take(api.TaskSpec{
		Model: "model@1", Input: []api.DataPointer{{URI: "data:;base64," + base64.StdEncoding.EncodeToString([]byte(j.parts[0]))}},
		Budget:  &api.Budget{MaxCost: 5 * core.Credit},
		Timeout: &api.Timeout{Queue: api.Duration(4 * time.Minute), Total: api.Duration(8 * time.Minute)},
		Retry:   &api.Retry{MaxAttempts: 10},
	})
	c.jobs = append(c.jobs, j)
	w.after(3*time.Second, j.submit)
	if w.plan.line == "" || w.plan.liars > 0 { // who lies can spoil what a line does again and again
		return
	}
	j = w.newLineJob(c, -1)
	j.key, j.probe = "line probe", true
	spec := *j.spec
	spec.Budget, spec.Retry = &api.Budget{MaxCost: 5 * core.Credit}, &api.Retry{MaxAttempts: 10}
	spec.Timeout = &api.Timeout{Queue: api.Duration(4 * time.Minute), Execution: api.Duration(time.Minute), Total: api.Duration(8 * time.Minute)}
	j.take(spec)
	c.jobs = append(c.jobs, j)
	w.after(3*time.Second, j.submit)
}
