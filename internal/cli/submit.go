package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/durable"
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
var reportingFlags = map[string]bool{"spec": true, "idempotency-key": true, "watch": true, "wait": true, "output": true, "json": true, "url": true, "key": true, "context": true, "ca-cert": true}

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
three owners, and two must return the same bytes; with --verify reexecute:0.1 each
runs once, and one in ten, drawn afterwards, once more with another owner; with
reexecute:0.1:32 only 32 tokens of each answer of a language model are drawn again.
With logprobs:0.1 one in ten answers of a provider's own server is read by another
owner's copy of the model, and not paid if it cannot have drawn it.
--max-cost is held on your account when the task is accepted, and must cover the
checks as well; what is not used comes back.`,
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
	d := (&api.TaskSpec{}).WithDefaults()
	fl.StringVar(&f.specFile, "spec", "", "`FILE` with the whole specification as YAML or JSON, - for standard input (fields: see the hub's /openapi.json)")
	fl.StringVar(&f.model, "model", "", "`MODEL` as name@version, name, or sha256:… with --engine (required)")
	fl.StringVar(&f.engine, "engine", "", "`ENGINE` of a model given as a digest: text or wasm")
	fl.StringArrayVar(&f.inputs, "input", nil, "`FILE`, - or data pointer; may be repeated, they are joined (required)")
	fl.IntVar(&f.split, "split", 0, "`LINES` of each part (default: one part)")
	fl.StringArrayVar(&f.params, "param", nil, "`NAME=VALUE` for the engine; the value is JSON or plain text")
	fl.StringVar(&f.verify, "verify", "", "`METHOD`: none, "+verifyForms+" (default: none)")
	fl.StringVar(&f.maxCost, "max-cost", "", "`CREDITS` that the task may cost at most, such as 2.50 (default: "+d.Budget.MaxCost.String()+")")
	fl.StringSliceVar(&f.residency, "residency", nil, "`PLACES` that it may run in: countries (FR) or groups (EU, EEA)")
	fl.StringSliceVar(&f.regions, "region", nil, "`REGIONS` that it may run in, as nodes name them")
	fl.StringVar(&f.selector, "selector", "", "`LABELS` that nodes must have, such as 'tier in (gold), !spot'")
	fl.StringVar(&f.cpu, "cpu", "", "`CORES` for each lease, such as 2 or 500m for half a core")
	fl.StringVar(&f.memory, "memory", "", "`BYTES` of memory for each lease, such as 512Mi")
	fl.DurationVar(&f.queue, "timeout-queue", 0, "`TIME` that a part waits for a node at most (default: "+d.Timeout.Queue.Std().String()+")")
	fl.DurationVar(&f.execution, "timeout-execution", 0, "`TIME` that a lease runs at most (default: "+d.Timeout.Execution.Std().String()+")")
	fl.DurationVar(&f.total, "timeout-total", 0, "`TIME` that the task lives at most (default: "+d.Timeout.Total.Std().String()+")")
	fl.IntVar(&f.attempts, "attempts", 0, "`NUMBER` of leases of each part and replica at most (default: "+strconv.Itoa(d.Retry.MaxAttempts)+")")
	fl.DurationVar(&f.lostAfter, "lost-after", 0, "`TIME` of silence after which a node's leases go elsewhere (default: "+d.Disconnect.LostAfter.Std().String()+")")
	fl.DurationVar(&f.latency, "latency", 0, "`TIME` within which each lease must be reported, or pay is cut by --penalty; such as 2s")
	fl.StringVar(&f.penalty, "penalty", "", "`SHARE` of its price that a later lease loses, such as 20%")
	fl.StringVar(&f.deadline, "deadline", "", "`MOMENT` at which the task expires, such as 2026-12-01T00:00:00Z")
	fl.Float64Var(&f.minReliability, "min-reliability", 0, "`SHARE`, 0 to 1: nodes whose reliability is below are not used")
	fl.StringVar(&f.callback, "callback", "", "`URL` that is told when the task has ended")
	fl.StringVar(&f.idempotencyKey, "idempotency-key", "", "`KEY`: submit once, however often this is run with the same one")
	fl.BoolVar(&f.watch, "watch", false, "follow the task to its end and print its result")
	fl.DurationVar(&f.wait, "wait", 0, "`TIME`: let the hub answer when the task has ended, after so long at the latest, such as 30s")
	fl.StringVar(&f.output, "output", "", "`FILE` to write the result to (implies --watch)")
	_ = cmd.MarkFlagFilename("spec", "yaml", "yml", "json")
	_ = cmd.MarkFlagFilename("input")
	_ = cmd.MarkFlagFilename("output")
}

func (s *session) submit(cmd *cobra.Command, f *submitFlags) error {
	f.watch = f.watch || f.output != ""
	if _, err := os.Stat(filepath.Dir(f.output)); f.output != "" && err != nil {
		return usagef("--output: %w", err) // said before anything is paid for
	}
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
	if ctx.Err() != nil {
		fmt.Fprintln(s.err, "the task may have been submitted already; see: atoll task list")
	}
	if err != nil && f.specFile == "" {
		err = inFlags(err)
	}
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
		fmt.Fprintf(s.err, "no longer watched; the task goes on. To see it again: atoll task events %[1]s, its result: atoll task result %[1]s, to stop it: atoll task cancel %[1]s\n", reply.ID)
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
	s.hint("%s, %s, up to %s held. Follow it: atoll task events %s", reply.State, english.Plural(reply.Parts.Total, "part", ""), reply.Cost.Max, reply.ID)
	return nil
}

// ended says how a task ended, and fails if that was badly.
func (s *session) ended(t *api.Task) error {
	if t.Parts.Short > 0 {
		fmt.Fprintf(s.err, "short quorum: %s; which: atoll task parts %s\n", fewerOwners(t.Parts.Short), t.ID)
	}
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
	return durable.Replace(path, durable.Public, write)
}
