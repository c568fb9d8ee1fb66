package cli

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"atoll/internal/fed"
	"atoll/internal/fed/dataset"
)

// datasetCheck is whether a federation may learn from a dataset.
type datasetCheck struct {
	Allowed bool   `json:"allowed"`
	Why     string `json:"why,omitempty"`
	Train   int    `json:"rows_trained_on,omitempty"`
	Held    int    `json:"rows_held_out,omitempty"`
	Rounds  int    `json:"rounds"`
	Room    int    `json:"rounds_within_budget"`
}

func (s *session) datasetCheckCmd(store func() dataset.Store) *cobra.Command {
	sites := 5
	cmd := &cobra.Command{
		Use: "check NAME SPEC", Short: "See whether a federation may learn from a dataset", Args: cobra.ExactArgs(2),
		Long: `Hold a federation's specification against a dataset's terms, columns, rows and budget,
as the node does that is asked to take part. Nothing is told, and nothing spent.`,
		Example: "  atoll dataset check loans examples/federation/loans.yaml --sites 4",
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := store().Get(args[0])
			if err != nil {
				return err
			}
			spec, err := s.loadFederation(args[1])
			if err != nil {
				return err
			}
			c, err := checkDataset(store(), d, spec, sites)
			if err != nil {
				return err
			}
			if s.asJSON {
				err = s.printJSON(c)
			} else {
				yes := fmt.Sprintf("%s may learn from %s: %d rows to train on, %d held out, and its budget has room for all %d rounds", spec.Name, d.Name, c.Train, c.Held, c.Rounds)
				fmt.Fprintf(s.out, "%s %s\n", s.out.Mark(c.Allowed), cmp.Or(c.Why, yes))
			}
			if err == nil && !c.Allowed {
				return errNo
			}
			return err
		},
	}
	cmd.Flags().IntVar(&sites, "sites", sites, "`NUMBER` of sites that the federation has")
	s.jsonFlag(cmd)
	return cmd
}

func checkDataset(store dataset.Store, d *dataset.Dataset, spec *fed.Spec, sites int) (*datasetCheck, error) {
	plan, err := fed.NewPlan(spec, sites)
	if err != nil {
		return nil, err
	}
	c := &datasetCheck{Rounds: spec.Rounds}
	var rows *fed.Rows
	refused := d.Policy.Allows(plan)
	if refused == nil {
		rows, refused = d.Load(plan)
	}
	if c.Room, err = store.Room(d, plan); err != nil {
		return nil, err
	}
	if refused != nil {
		c.Why = refused.Error()
		return c, nil //nolint:nilerr // it is the answer
	}
	c.Train, c.Held = rows.Train.Len(), rows.Held.Len()
	if c.Allowed = c.Room == c.Rounds; !c.Allowed {
		c.Why = fmt.Sprintf("its budget has room for %d of %d rounds", c.Room, c.Rounds)
	}
	return c, nil
}
