package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
)

// inlineInput is up to which size an input travels inside the submission.
// Larger ones are uploaded first.
const inlineInput = 256 << 10

// maxSpec bounds a specification file, as the hub does.
const maxSpec = 4 << 20

// submitFlags are the flags of "atoll submit", in the words of the API.
type submitFlags struct {
	specFile                string
	model, engine           string
	inputs                  []string
	split                   int
	params                  []string
	verify, maxCost         string
	residency, regions      []string
	selector                string
	cpu, memory             string
	queue, execution, total time.Duration
	latency, lostAfter      time.Duration
	deadline, penalty       string
	minReliability          float64
	attempts                int
	callback                string
	idempotencyKey          string
	watch                   bool
	wait                    time.Duration
	output                  string
}

// reporting flags go with --spec; all others are fields of the specification.
var reportingFlags = map[string]bool{"spec": true, "idempotency-key": true, "watch": true, "wait": true, "output": true, "json": true, "url": true, "key": true, "context": true}

func (s *session) submitCmd() *cobra.Command {
	var f submitFlags
	cmd := &cobra.Command{
		Use:   "submit --model MODEL --input FILE [flags]",
		Short: "Submit a task",
		Long: `Submit work: a model, an input, and what must hold. The task's ID is printed;
with --watch the task is followed to its end and its result printed (exit code 3
if it did not succeed).

The input may be a file, - for standard input, or a pointer (https://…,
blob:sha256:…, data:…). With --split it is cut into parts of so many lines,
which run on several nodes at once. With --verify quorum:3:2 each part runs with
three owners, and two must return the same bytes. --max-cost is held on your
account when the task is accepted; what is not used comes back.`,
		Example: `  atoll submit --model triage@1 --input requests.jsonl --split 200 --verify quorum:3:2 --max-cost 2 --watch
  cat requests.jsonl | atoll submit --model triage@1 --input - --residency EU --watch --output answers.jsonl
  atoll submit --spec task.yaml
  id=$(atoll submit --model triage@1 --input requests.jsonl) && atoll task events $id`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.submit(cmd, &f) },
	}
	f.register(cmd)
	s.jsonFlag(cmd)
	return cmd
}

func (f *submitFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.specFile, "spec", "", "the whole specification as YAML or JSON, - for standard input (fields: /openapi.json)")
	fl.StringVar(&f.model, "model", "", "name@version, name, or sha256:… with --engine")
	fl.StringVar(&f.engine, "engine", "", "engine of a model given as a digest")
	fl.StringArrayVar(&f.inputs, "input", nil, "file, - or data pointer; several are joined")
	fl.IntVar(&f.split, "split", 0, "lines of each part (default: one part)")
	fl.StringArrayVar(&f.params, "param", nil, "NAME=VALUE for the engine; the value is JSON or plain text")
	fl.StringVar(&f.verify, "verify", "", "none, or quorum:REPLICAS:AGREE such as quorum:3:2")
	fl.StringVar(&f.maxCost, "max-cost", "", "credits that the task may cost at most, such as 2.50")
	fl.StringSliceVar(&f.residency, "residency", nil, "countries (FR) or groups (EU, EEA) that it may run in")
	fl.StringSliceVar(&f.regions, "region", nil, "regions that it may run in")
	fl.StringVar(&f.selector, "selector", "", "labels that nodes must have, such as 'tier in (gold), !spot'")
	fl.StringVar(&f.cpu, "cpu", "", "processor of each lease, such as 500m or 2")
	fl.StringVar(&f.memory, "memory", "", "memory of each lease, such as 512Mi")
	fl.DurationVar(&f.queue, "timeout-queue", 0, "longest wait of a part for a node")
	fl.DurationVar(&f.execution, "timeout-execution", 0, "longest run of a lease")
	fl.DurationVar(&f.total, "timeout-total", 0, "longest life of the task")
	fl.IntVar(&f.attempts, "attempts", 0, "leases of each part and replica at most")
	fl.DurationVar(&f.lostAfter, "lost-after", 0, "silence after which a node's leases go elsewhere")
	fl.DurationVar(&f.latency, "latency", 0, "promised time of each lease")
	fl.StringVar(&f.penalty, "penalty", "", "share of the price that a later lease loses, such as 20%")
	fl.StringVar(&f.deadline, "deadline", "", "end of the task, such as 2026-12-01T00:00:00Z")
	fl.Float64Var(&f.minReliability, "min-reliability", 0, "0 to 1; nodes below are not used")
	fl.StringVar(&f.callback, "callback", "", "URL that is told when the task has ended")
	fl.StringVar(&f.idempotencyKey, "idempotency-key", "", "submit once, however often this is run with the same key")
	fl.BoolVar(&f.watch, "watch", false, "follow the task to its end and print its result")
	fl.DurationVar(&f.wait, "wait", 0, "let the hub answer when the task has ended, after so long at the latest")
	fl.StringVar(&f.output, "output", "", "write the result to this file (implies --watch)")
	_ = cmd.MarkFlagFilename("spec", "yaml", "yml", "json")
	_ = cmd.MarkFlagFilename("input")
	_ = cmd.MarkFlagFilename("output")
}

func (s *session) submit(cmd *cobra.Command, f *submitFlags) error {
	f.watch = f.watch || f.output != ""
	c, err := s.client()
	if err != nil {
		return err
	}
	spec, err := s.readSpec(cmd, f, c)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	reply, err := c.Submit(ctx, spec, client.SubmitOptions{Key: f.idempotencyKey, Wait: f.wait})
	if err != nil {
		return err
	}
	if reply.Duplicate {
		s.hint("this submission was made before; this is its task")
	}
	if !f.watch {
		return s.submitted(&reply)
	}
	fmt.Fprintln(s.err, "task", reply.ID)
	t, err := s.watch(ctx, c, reply.ID)
	if err != nil {
		return err
	}
	if err := s.ended(t); err != nil {
		return err
	}
	if s.asJSON && f.output == "" {
		return s.printJSON(t)
	}
	if err := s.saveResult(ctx, c, t.ID, -1, f.output); err != nil {
		return err
	}
	if s.asJSON {
		return s.printJSON(t)
	}
	return nil
}

// submitted prints a task that was not watched.
func (s *session) submitted(reply *api.SubmitReply) error {
	if s.asJSON {
		return s.printJSON(reply)
	}
	fmt.Fprintln(s.out, reply.ID)
	if reply.Ended() {
		return s.ended(&reply.Task)
	}
	s.hint("%s, %d parts, up to %s held. Follow it: atoll task events %s", reply.State, reply.Parts.Total, reply.Cost.Max, reply.ID)
	return nil
}

// ended says how a task ended, and fails if that was badly.
func (s *session) ended(t *api.Task) error {
	if t.State == "succeeded" {
		return nil
	}
	fmt.Fprintf(s.err, "the task %s: %s\n", ending(t.State), clean(t.Reason))
	for _, n := range t.NotChosen {
		fmt.Fprintf(s.err, "  %s (%s): %s\n", clean(string(n.Node)), clean(string(n.Owner)), clean(n.Reason))
	}
	return errNo
}

func ending(state string) string {
	if state == "cancelled" || state == "failed" {
		return "has " + map[string]string{"cancelled": "been cancelled", "failed": "failed"}[state]
	}
	return "has " + state
}

// watch follows a task to its end, with a bar on a terminal.
func (s *session) watch(ctx context.Context, c *client.Client, id core.TaskID) (*api.Task, error) {
	bar := s.err.Bar("", 1)
	defer bar.Done()
	for e, err := range c.Events(ctx, id, 0) {
		if err != nil {
			return nil, err
		}
		if e.Type == "part.succeeded" || e.Type == "part.failed" || e.Type == "task.running" {
			t, err := c.Task(ctx, id)
			if err != nil {
				return nil, err
			}
			bar.Set(t.Parts.Succeeded+t.Parts.Failed, t.Parts.Total, "cost "+(t.Cost.Paid+t.Cost.Pending).String()+" of "+t.Cost.Max.String())
		}
	}
	t, err := c.Task(ctx, id)
	return &t, err
}

// saveResult writes a task's result, or one part's, to a file or to standard
// output. A file is there whole or not at all.
func (s *session) saveResult(ctx context.Context, c *client.Client, id core.TaskID, part int, path string) error {
	write := func(w io.Writer) error {
		if part < 0 {
			return c.Result(ctx, id, w)
		}
		data, err := c.PartResult(ctx, id, part)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}
	if path == "" || path == "-" {
		return write(s.out)
	}
	return writeWhole(path, write)
}
