package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
)

// taskVerb is a verb about one task.
func (s *session) taskVerb(use, short string, run func(cmd *cobra.Command, c *client.Client, id core.TaskID) error) *cobra.Command {
	return &cobra.Command{Use: use + " TASK", Short: short, Example: "  atoll task " + use + " task_0c3v7k9qmbn4a", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		id, err := core.ParseTaskID(args[0])
		if err != nil {
			return usageError{err}
		}
		c, err := s.client()
		if err != nil {
			return err
		}
		return run(cmd, c, id)
	}}
}

func (s *session) taskCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "task",
		Short: "Look at tasks, follow them, fetch results, cancel",
		Example: `  atoll task list
  atoll task get task_0c3v7k9qmbn4a
  atoll task result task_0c3v7k9qmbn4a > answers.jsonl`,
	}
	get := s.taskVerb("get", "Show a task: state, cost, and why nodes were not used", func(cmd *cobra.Command, c *client.Client, id core.TaskID) error {
		t, err := c.Task(cmd.Context(), id)
		if err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(t)
		}
		return s.describe(&t)
	})
	parts := s.taskVerb("parts", "List a task's parts", func(cmd *cobra.Command, c *client.Client, id core.TaskID) error {
		return showAll(s, c.Parts(cmd.Context(), id), 0, "PART STATE LEASES INPUT RESULT REASON", func(p api.Part) []string {
			return []string{strconv.Itoa(p.Index), p.State, strconv.Itoa(p.Leases), bytesOf(p.InputSize), digest(p.ResultDigest), p.Reason}
		})
	})
	leases := s.taskVerb("leases", "List a task's leases: who did which part, for how much", func(cmd *cobra.Command, c *client.Client, id core.TaskID) error {
		return showAll(s, c.Leases(cmd.Context(), id), 0, "LEASE PART TRY NODE OWNER STATE PRICE PAY RESULT REASON", func(l api.Lease) []string {
			return []string{l.ID.String(), strconv.Itoa(l.Part), strconv.Itoa(l.Attempt), string(l.Node), string(l.Owner), l.State, l.Price.String(), l.Pay.String(), digest(l.ResultDigest), l.Reason}
		})
	})
	receipts := s.taskVerb("receipts", "List a task's receipts", func(cmd *cobra.Command, c *client.Client, id core.TaskID) error {
		return showAll(s, c.Receipts(cmd.Context(), id), 0, "LEASE PART NODE STATE LOG-INDEX RESULT VERDICT", func(r api.ReceiptRef) []string {
			return []string{r.Lease.String(), strconv.Itoa(r.Part), string(r.Node), r.State, strconv.FormatInt(r.LogIndex, 10), digest(r.ResultDigest), yes(r.Verdict != "", "yes")}
		})
	})
	cancel := s.taskVerb("cancel", "Cancel a task; what was not used of its budget comes back", func(cmd *cobra.Command, c *client.Client, id core.TaskID) error {
		t, err := c.Cancel(cmd.Context(), id)
		if err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(t)
		}
		fmt.Fprintf(s.out, "%s %s: %s\n", t.ID, t.State, t.Reason)
		return nil
	})
	cmd.AddCommand(get, s.taskListCmd(), s.taskEventsCmd(), s.taskResultCmd(), parts, leases, receipts, cancel)
	s.jsonFlag(get, parts, leases, receipts, cancel)
	return cmd
}

func digest(d core.Digest) string {
	if d.IsZero() {
		return "-"
	}
	return d.Short()
}

func (s *session) taskListCmd() *cobra.Command {
	var state string
	var limit int
	cmd := &cobra.Command{Use: "list", Short: "List tasks, newest first", Example: "  atoll task list --state running", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		return showAll(s, c.Tasks(cmd.Context(), state), limit, "TASK STATE MODEL PARTS COST MAX CREATED REASON", func(t api.Task) []string {
			return []string{t.ID.String(), t.State, t.Model, fmt.Sprintf("%d/%d", t.Parts.Succeeded, t.Parts.Total), (t.Cost.Paid + t.Cost.Pending).String(), t.Cost.Max.String(), clock(t.CreatedAt), t.Reason}
		})
	}}
	cmd.Flags().StringVar(&state, "state", "", "`STATE`: only tasks that are queued, placing, running, verifying, succeeded, failed, cancelled or expired")
	cmd.Flags().IntVar(&limit, "limit", 50, "`NUMBER` of tasks to show at most; 0: all")
	s.jsonFlag(cmd)
	return cmd
}

// describe shows one task to a person.
func (s *session) describe(t *api.Task) error {
	ended := ""
	if t.EndedAt != nil {
		ended = fmt.Sprintf("%s, after %s", clock(*t.EndedAt), t.EndedAt.Sub(t.CreatedAt).Round(time.Millisecond))
	}
	short := ""
	if n := t.Parts.Short; n > 0 {
		short = "short: " + fewerOwners(n) + fmt.Sprintf("; which: atoll task parts %s", t.ID)
	}
	err := s.out.Fields(
		"task", t.ID.String(), "state", t.State+": "+t.Reason, "model", t.Model+" ("+t.ModelDigest.Short()+")", "account", string(t.Account),
		"created", clock(t.CreatedAt), "ended", ended,
		"parts", fmt.Sprintf("%d of %d done, %d failed, %d running, %d waiting, %s moved", t.Parts.Succeeded, t.Parts.Total, t.Parts.Failed, t.Parts.Running, t.Parts.Waiting, english.Plural(t.Parts.Moved, "lease", "")),
		"quorum", short,
		"cost", fmt.Sprintf("%s paid, %s verified and pending, %s refunded, of at most %s", t.Cost.Paid, t.Cost.Pending, t.Cost.Refunded, t.Cost.Max),
		"trace", t.TraceID,
	)
	if err != nil || len(t.NotChosen) == 0 {
		return err
	}
	fmt.Fprintln(s.out, "\nnot used:")
	rows := make([][]string, 0, len(t.NotChosen))
	for _, n := range t.NotChosen {
		rows = append(rows, []string{string(n.Node), string(n.Owner), n.Reason})
	}
	return s.out.Table("NODE OWNER WHY", rows)
}

// fewerOwners says of how many parts the result rests on less than was asked for.
func fewerOwners(parts int) string {
	return fmt.Sprintf("%s decided by fewer owners than asked for, because no more could be had", english.Plural(parts, "part", ""))
}

func (s *session) taskEventsCmd() *cobra.Command {
	after, past := int64(0), false
	cmd := s.taskVerb("events", "Follow a task's events to its end", func(cmd *cobra.Command, c *client.Client, id core.TaskID) error {
		follow := c.Events
		if past {
			follow = c.PastEvents
		}
		for e, err := range follow(cmd.Context(), id, after) {
			if err != nil {
				return err
			}
			if err := s.printEvent(&e); err != nil {
				return err
			}
		}
		return nil
	})
	cmd.Long = `Print what has happened to a task and what happens, until it has ended. A broken
connection is resumed where it broke. With --json each line is one event.`
	cmd.Example += "\n  atoll task events task_0c3v7k9qmbn4a --past --json"
	cmd.Flags().Int64Var(&after, "after", 0, "`NUMBER`: only events with greater numbers")
	cmd.Flags().BoolVar(&past, "past", false, "print what has happened so far, and stop")
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) printEvent(e *api.Event) error {
	if s.asJSON {
		b, err := json.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(s.out, "%s\n", b)
		}
		return err
	}
	var about []string
	if e.Part != nil {
		about = append(about, "part "+strconv.Itoa(*e.Part))
	}
	if e.Node != "" {
		about = append(about, string(e.Node))
	}
	_, err := fmt.Fprintf(s.out, "%s  %-16s %-16s %s\n", e.Time.Local().Format("15:04:05.000"), e.Type, strings.Join(about, " "), clean(e.Message))
	return err
}

func (s *session) taskResultCmd() *cobra.Command {
	part, output := -1, ""
	cmd := s.taskVerb("result", "Print a task's result", func(cmd *cobra.Command, c *client.Client, id core.TaskID) error {
		return s.saveResult(cmd.Context(), c, id, part, output)
	})
	cmd.Long = `Print the results of all parts, in order, once the task has succeeded. --part
gives the result of one part as soon as it is verified.`
	cmd.Example = "  atoll task result task_0c3v7k9qmbn4a > answers.jsonl\n  atoll task result task_0c3v7k9qmbn4a --part 0"
	cmd.Flags().IntVar(&part, "part", -1, "`NUMBER` of the only part that is wanted, counted from 0")
	cmd.Flags().StringVar(&output, "output", "", "`FILE` to write to (default: standard output)")
	return cmd
}
