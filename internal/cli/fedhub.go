package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	fastjson "github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/fed"
)

// fedHubCmds are the verbs for federations of a hub.
func (s *session) fedHubCmds() []*cobra.Command {
	list := s.verb("list", "List your federations, newest first", "atoll fed list", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		return showAll(s, c.Federations(cmd.Context()), 0, "FEDERATION NAME STATE ROUND SITES ACCURACY EPSILON BEGAN", func(f api.Federation) []string {
			return []string{f.ID.String(), f.Name, f.State, fmt.Sprintf("%d/%d", min(f.Round, f.Rounds), f.Rounds), fmt.Sprint(len(f.Sites)), lastAccuracy(&f), epsilonOf(f.Epsilon), clock(f.Created)}
		})
	})
	show := s.fedVerb("show", "Show a federation, its sites and its rounds", func(ctx context.Context, c *client.Client, id core.FederationID) error {
		return s.showRun(ctx, c, id)
	})
	watch := s.fedVerb("watch", "Follow a federation to its end", func(ctx context.Context, c *client.Client, id core.FederationID) error {
		return s.watchRun(ctx, c, id)
	})
	change := func(verb, short string, do func(*client.Client, context.Context, core.FederationID) (api.Federation, error)) *cobra.Command {
		return s.fedVerb(verb, short, func(ctx context.Context, c *client.Client, id core.FederationID) error {
			f, err := do(c, ctx, id)
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(f)
			}
			fmt.Fprintf(s.out, "%s is %s\n", f.ID, f.State)
			return nil
		})
	}
	pause := change("pause", "Have a federation wait; its deadlines stand still", (*client.Client).PauseFederation)
	resume := change("resume", "Have a paused federation go on", (*client.Client).ResumeFederation)
	stop := change("stop", "End a federation, and its schedule; its rounds and its model stay", (*client.Client).StopFederation)
	roster := s.fedRosterCmd()
	s.jsonFlag(list, show, watch, pause, resume, stop, roster)
	return []*cobra.Command{list, show, watch, pause, resume, stop, roster, s.fedReportCmd(), s.fedModelCmd(), s.fedReceiptCmd()}
}

// fedVerb is a verb about one federation.
func (s *session) fedVerb(use, short string, run func(context.Context, *client.Client, core.FederationID) error) *cobra.Command {
	return s.verb(use+" RUN", short, "atoll fed "+use+" fed_0c3v7k9qmbn4a", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		var id core.FederationID
		if err := id.UnmarshalText([]byte(args[0])); err != nil {
			return usagef("%s: %w", args[0], err)
		}
		return run(cmd.Context(), c, id)
	})
}

func lastAccuracy(f *api.Federation) string {
	if f.Last == nil || f.Last.Held == 0 {
		return "-"
	}
	return percent(f.Last.Accuracy)
}

func epsilonOf(e float64) string {
	if e == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g", e)
}

// runOnHub begins a federation over the hub's nodes.
func (s *session) runOnHub(cmd *cobra.Command, spec *fed.Spec, watch bool) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	body, err := fastjson.Marshal(spec, fastjson.Deterministic(true))
	if err != nil {
		return err
	}
	f, err := c.BeginFederation(cmd.Context(), body)
	if err != nil {
		return err
	}
	if watch {
		fmt.Fprintf(s.err, "federation %s over %d sites\n", f.ID, len(f.Sites))
		return s.watchRun(cmd.Context(), c, f.ID)
	}
	if s.asJSON {
		return s.printJSON(f)
	}
	fmt.Fprintln(s.out, f.ID)
	s.hint("follow it with: atoll fed watch %s", f.ID)
	return nil
}

// lookEvery is how often a federation that is watched is looked at.
const lookEvery = 300 * time.Millisecond

// watchRun follows a federation to its end.
func (s *session) watchRun(ctx context.Context, c *client.Client, id core.FederationID) error {
	bar := s.err.Bar("", 1)
	defer bar.Done()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		f, err := c.Federation(ctx, id)
		if err == nil && f.State != api.FederationRunning && f.State != api.FederationPaused {
			bar.Done()
			return s.runOver(ctx, c, &f)
		}
		if err == nil {
			bar.Set(f.Round-1, f.Rounds, runNote(&f))
			select {
			case <-tick.C:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		fmt.Fprintf(s.err, "no longer watched; the federation goes on. To see it again: atoll fed watch %[1]s, to stop it: atoll fed stop %[1]s\n", id)
		return err
	}
}

// runNote says how the round under way goes, and how the last one did.
func runNote(f *api.Federation) string {
	var parts []string
	if f.State == api.FederationPaused {
		parts = append(parts, "paused")
	}
	if x := f.Last; x != nil {
		parts = append(parts, fmt.Sprintf("%d sites in, %d out, %s, %.1f s a round", len(x.Sites), len(x.Out), bytesOf(x.Bytes), x.Seconds))
		if x.Held > 0 {
			parts = append(parts, "accuracy "+percent(x.Accuracy))
		}
	}
	if f.Epsilon > 0 {
		parts = append(parts, "ε "+epsilonOf(f.Epsilon))
	}
	if n := len(f.Waiting); n > 0 && n < len(f.Sites) {
		parts = append(parts, fmt.Sprintf("%s: waiting for %s", f.Step, core.Clip(strings.Join(f.Waiting, ", "), 60)))
	}
	return strings.Join(parts, "; ")
}

// runOver tells of a federation that does not go on.
func (s *session) runOver(ctx context.Context, c *client.Client, f *api.Federation) error {
	if f.State == api.FederationFailed {
		return core.Errorf(core.Unavailable, "%s has failed: %s", f.ID, f.Why).WithHint("the model as it was after the last round: atoll fed model " + f.ID.String() + " --out FILE")
	}
	return s.showRun(ctx, c, f.ID)
}

// fedView is a federation with its rounds.
type fedView struct {
	api.Federation
	History []api.FederationRound `json:"rounds_over"`
}

func viewRun(ctx context.Context, c *client.Client, id core.FederationID) (v fedView, err error) {
	if v.Federation, err = c.Federation(ctx, id); err == nil {
		v.History, err = client.Collect(c.FederationRounds(ctx, id))
	}
	return v, err
}

func (s *session) showRun(ctx context.Context, c *client.Client, id core.FederationID) error {
	v, err := viewRun(ctx, c, id)
	if err != nil {
		return err
	}
	if s.asJSON {
		return s.printJSON(v)
	}
	state := v.State
	if v.Why != "" {
		state += ": " + v.Why
	}
	next := ""
	if v.Next != nil {
		next = v.Next.Format(time.RFC3339)
	}
	told := ""
	if v.Unit != "" {
		told = fmt.Sprintf("at most ε = %s of one %s, at δ = %.1g", epsilonOf(v.Epsilon), v.Unit, v.Delta)
	}
	if err := s.out.Fields("federation", v.ID.String(), "name", v.Name, "state", state, "hidden", v.Hidden, "told", told, "again", next, "run", v.Run.String()); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	var rows [][]string
	for _, x := range v.Sites {
		rows = append(rows, []string{string(x.Node), string(x.Owner), x.Country, yes(x.Heard, "yes"), x.Key.String()})
	}
	if err := s.out.Table("SITE OWNER COUNTRY HEARD KEY", rows); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	rows = nil
	for i := range v.History {
		rows = append(rows, roundCells(&v.History[i]))
	}
	return s.out.Table("ROUND SITES OUT ACCURACY LOSS EPSILON BYTES SECONDS LOG", rows)
}

func roundCells(x *api.FederationRound) []string {
	out, accuracy, loss := "-", "-", "-"
	if len(x.Out) > 0 {
		out = fmt.Sprintf("%s (%s)", x.Out[0].Node, core.Clip(x.Out[0].Why, 40))
		if more := len(x.Out) - 1; more > 0 {
			out += fmt.Sprintf(" and %d more", more)
		}
	}
	if x.Held > 0 {
		accuracy, loss = percent(x.Accuracy), fmt.Sprintf("%.4f", x.Loss)
	}
	return []string{fmt.Sprint(x.Number), fmt.Sprint(len(x.Sites)), out, accuracy, loss, epsilonOf(x.Epsilon), bytesOf(x.Bytes), fmt.Sprintf("%.2f", x.Seconds), fmt.Sprint(x.LogIndex)}
}

func (s *session) fedRosterCmd() *cobra.Command {
	return s.verb("roster SPEC", "See who would take part now, and with which keys", "atoll fed roster cross-bank-fraud.yaml\natoll fed roster cross-bank-fraud.yaml > members.txt", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		spec, err := s.loadFederation(args[0])
		if err != nil {
			return err
		}
		body, err := fastjson.Marshal(spec, fastjson.Deterministic(true))
		if err != nil {
			return err
		}
		r, err := c.FederationRoster(cmd.Context(), body)
		if err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(r)
		}
		for _, x := range r.Sites {
			fmt.Fprintf(s.out, "%s=%s\n", x.Node, x.Key)
		}
		for _, x := range r.Excluded {
			s.hint("not %s: %s", x.Node, x.Why)
		}
		s.hint("%d sites; it takes %d. The hub says so: owners compare keys with one another before they admit them", len(r.Sites), r.Fewest)
		return nil
	})
}
