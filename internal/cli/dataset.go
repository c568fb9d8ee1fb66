package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"atoll/internal/fed/client"
	"atoll/internal/fed/dataset"
	"atoll/internal/privacy"
	"atoll/internal/table"
)

func (s *session) datasetCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dataset", Short: "Tables that federations may learn from, and on what terms",
		Long: `A dataset is a file of rows on this machine, with a description of its columns and the
terms on which federations may learn from it. The rows stay in the file: nothing
here copies them, and no verb shows them. What was told of them is counted, over
all federations, and never more than the terms allow. The node enforces that, and not
the hub; "dataset check" says what it would say to a federation.`,
	}
	dir, node := "", ""
	cmd.PersistentFlags().StringVar(&dir, "dir", s.dataDir("node"), "`DIR` of the node whose datasets they are")
	cmd.PersistentFlags().StringVar(&node, "node", "", "`NAME` of a node of this machine's \"atoll up\", in place of --dir")
	_ = cmd.MarkPersistentFlagDirname("dir")
	cmd.MarkFlagsMutuallyExclusive("dir", "node")
	store := func() dataset.Store {
		if node != "" {
			dir = filepath.Join(s.dataDir("up"), "nodes", node)
		}
		return client.Datasets(dir)
	}
	cmd.AddCommand(s.datasetAddCmd(store), s.datasetAdmitCmd(store), s.datasetListCmd(store), s.datasetShowCmd(store), s.datasetCheckCmd(store), s.datasetRemoveCmd(store))
	return cmd
}

func (s *session) datasetAddCmd(store func() dataset.Store) *cobra.Command {
	var name, schema, unit string
	var p dataset.Policy
	var l privacy.Limit
	var m memberFlags
	cmd := &cobra.Command{
		Use: "add FILE --name NAME --schema SCHEMA", Short: "Let federations learn from a file of rows, on terms", Args: cobra.ExactArgs(1),
		Long: `Read all rows of FILE (.csv, .csv.gz, .parquet) against SCHEMA, a Frictionless Table
Schema in JSON, and add it. A row that is wrong is named by its place, never by
what it says, and then nothing is added. To add a name again changes its terms.

With --epsilon no federation learns more of one unit (a record, a customer, a
site) than that, all of them together.

Its rows are learnt from together with those of members alone, whose owners have told
you the digests of their nodes' keys (see: atoll fed roster): a hub that chose them
could surround your node with its own. --any-member trusts the hub not to.`,
		Example: `  atoll dataset add transactions.parquet --name card-transactions --schema schema.json --purpose fraud-detection
  atoll dataset add loans.csv --name loans --schema loans.schema.json --sites 5 --epsilon 8 --delta 1e-5 --unit customer`,
		RunE: func(_ *cobra.Command, args []string) error {
			if name == "" || schema == "" {
				return usagef("--name and --schema are needed")
			}
			resource, err := s.readFile(schema, table.MaxSchema)
			if err != nil {
				return fmt.Errorf("--schema: %w", err)
			}
			if l.Epsilon != 0 {
				l.Unit = privacy.Unit(unit)
				p.Limit = &l
			}
			if p.Members, err = m.read(s); err != nil {
				return err
			}
			d, err := store().Add(name, args[0], resource, p, time.Now().UTC().Truncate(time.Second))
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(d)
			}
			fmt.Fprintf(s.out, "%s: %d rows of %s; they stay there\n", d.Name, d.Rows, d.Path)
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&name, "name", "", "`NAME` under which federations ask for it")
	fl.StringVar(&schema, "schema", "", "`FILE` with the table's schema")
	fl.StringSliceVar(&p.Purposes, "purpose", nil, "`PURPOSES` that are allowed (default: any)")
	fl.IntVar(&p.Sites, "sites", dataset.MinSites, "`NUMBER` of sites that a sum must be of, at least")
	fl.Float64Var(&l.Epsilon, "epsilon", 0, "`ε` that may be told of one unit, ever (default: no bound)")
	fl.Float64Var(&l.Delta, "delta", 1e-6, "`δ` at which that holds")
	fl.StringVar(&unit, "unit", string(privacy.Record), "`UNIT` that is protected: record, customer or site")
	fl.StringSliceVar(&p.Residency, "residency", nil, "`PLACES` where the node may be: countries (FR) or groups (EU, EEA)")
	fl.BoolVar(&p.AnyMember, "any-member", false, "learn together with whomever the hub names")
	m.add(fl)
	fl.BoolVar(&p.Unmasked, "allow-unmasked", false, "let a hub see this site's updates, which tell of its rows")
	s.jsonFlag(cmd)
	return cmd
}

// datasetView is a dataset with what was told of it.
type datasetView struct {
	*dataset.Dataset
	Spent  float64 `json:"epsilon_spent"`
	Rounds int     `json:"rounds_charged"`
}

func viewDataset(store dataset.Store, d *dataset.Dataset) (datasetView, error) {
	spent, rounds, err := store.Spent(d.Name)
	return datasetView{d, spent, rounds}, err
}

func (v *datasetView) budget() string {
	if v.Policy.Limit == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f of %.2f", v.Spent, v.Policy.Limit.Epsilon)
}

func (s *session) datasetListCmd(store func() dataset.Store) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the node's datasets", Args: cobra.NoArgs, Example: "  atoll dataset list --dir ./node",
		RunE: func(*cobra.Command, []string) error {
			all, err := store().List()
			if err != nil {
				return err
			}
			views := []datasetView{}
			for _, d := range all {
				v, err := viewDataset(store(), d)
				if err != nil {
					return err
				}
				views = append(views, v)
			}
			return show(s, views, "NAME ROWS SCHEMA EPSILON PATH", func(v datasetView) []string {
				return []string{v.Name, fmt.Sprint(v.Rows), v.Schema.Short(), v.budget(), v.Path}
			})
		},
	}
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) datasetShowCmd(store func() dataset.Store) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a dataset's terms, and what was told of it", Args: cobra.ExactArgs(1), Example: "  atoll dataset show loans --json",
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := store().Get(args[0])
			if err != nil {
				return err
			}
			v, err := viewDataset(store(), d)
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(v)
			}
			unit := ""
			if v.Policy.Limit != nil {
				unit = fmt.Sprintf("ε %s of one %s, at δ = %.1g, in %d rounds", v.budget(), v.Policy.Limit.Unit, v.Policy.Limit.Delta, v.Rounds)
			}
			return s.out.Fields("name", v.Name, "rows", fmt.Sprint(v.Rows), "path", v.Path, "schema", v.Schema.String(), "purposes", fmt.Sprint(v.Policy.Purposes),
				"sites", fmt.Sprint(max(v.Policy.Sites, dataset.MinSites)), "residency", fmt.Sprint(v.Policy.Residency), "members", memberNames(&v.Policy), "told", unit, "added", v.AddedAt.Format(time.RFC3339))
		},
	}
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) datasetRemoveCmd(store func() dataset.Store) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Let no federation learn from a dataset any more", Args: cobra.ExactArgs(1),
		Long:    "Forget a dataset. Its file stays, and so does the count of what was told of it.",
		Example: "  atoll dataset remove loans",
		RunE:    func(_ *cobra.Command, args []string) error { return store().Remove(args[0]) },
	}
}
