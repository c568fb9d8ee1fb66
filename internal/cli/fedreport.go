package cli

import (
	"context"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/durable"
	"atoll/internal/fed"
	"atoll/internal/fed/simulate"
)

func (s *session) fedReportCmd() *cobra.Command {
	html, card := "", ""
	cmd := s.fedVerb("report", "Report on a federation: table, page with pictures, model card", func(ctx context.Context, c *client.Client, id core.FederationID) error {
		v, err := viewRun(ctx, c, id)
		if err != nil {
			return err
		}
		if html != "" {
			page, err := reportOf(&v).HTML()
			if err != nil {
				return err
			}
			if err := durable.WriteFile(html, page, durable.Public); err != nil {
				return err
			}
		}
		if card != "" {
			text, err := c.FederationCard(ctx, id)
			if err != nil {
				return err
			}
			if err := durable.WriteFile(card, text, durable.Public); err != nil {
				return err
			}
		}
		return s.showRun(ctx, c, id)
	})
	cmd.Flags().StringVar(&html, "html", "", "`FILE` to write a page to, which needs nothing else")
	cmd.Flags().StringVar(&card, "card", "", "`FILE` to write the model's card to, in Markdown")
	s.jsonFlag(cmd)
	return cmd
}

// reportOf tells of a federation as of one that was simulated, but for what only a
// simulation can know.
func reportOf(v *fedView) *simulate.Report {
	out := &simulate.Report{Name: v.Name, Run: v.Run, Rounds: v.Rounds, Sites: len(v.Sites), Hidden: v.Hidden, Epsilon: v.Epsilon, Delta: v.Delta, Unit: v.Unit}
	number := map[core.NodeID]int{}
	for i, x := range v.Sites {
		number[x.Node] = i
	}
	for _, x := range v.History {
		r := fed.Round{Number: x.Number, Attempts: x.Attempts, Sent: x.Bytes, Epsilon: x.Epsilon, Sum: x.Sum, Params: x.Params,
			Counts: fed.Counts{Rows: x.Rows, Held: x.Held, Right: int64(x.Accuracy*float64(x.Held) + 0.5), Loss: int64(x.Loss * 1000 * float64(x.Held))}}
		for _, n := range x.Sites {
			r.Sites = append(r.Sites, number[n])
		}
		for _, o := range x.Out {
			r.Out = append(r.Out, fed.Out{Site: number[o.Node], Why: string(o.Node) + ", " + o.Why})
		}
		out.History, out.Seconds = append(out.History, r), out.Seconds+x.Seconds
	}
	return out
}

func (s *session) fedModelCmd() *cobra.Command {
	out := ""
	cmd := s.fedVerb("model", "Save the model, with its lineage in its header", func(ctx context.Context, c *client.Client, id core.FederationID) error {
		if out == "" {
			return usagef("--out is needed")
		}
		b, err := c.FederationModel(ctx, id)
		if err != nil {
			return err
		}
		return s.saveBytes(out, b)
	})
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write it to")
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) fedReceiptCmd() *cobra.Command {
	out := ""
	cmd := s.verb("receipt RUN ROUND", "Save the receipt of a round", "atoll fed receipt fed_0c3v7k9qmbn4a 3 --out round-3.json\natoll receipt verify round-3.json", cobra.ExactArgs(2), func(cmd *cobra.Command, c *client.Client, args []string) error {
		var id core.FederationID
		if err := id.UnmarshalText([]byte(args[0])); err != nil {
			return usagef("%s: %w", args[0], err)
		}
		round, err := strconv.Atoi(args[1])
		if err != nil || round < 1 {
			return usagef("%s: want a round, from 1", args[1])
		}
		b, err := c.FederationReceipt(cmd.Context(), id, round)
		if err != nil {
			return err
		}
		if out == "" || out == "-" {
			_, err := s.out.Write(append(b, '\n'))
			return err
		}
		root, err := c.TrustedRoot(cmd.Context())
		if err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(filepath.Dir(out), "trusted-root.json"), root, durable.Public); err != nil {
			return err
		}
		return s.saveBytes(out, b)
	})
	s.jsonFlag(cmd)
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write it to, with trusted-root.json beside it (default: standard output)")
	return cmd
}

// saveBytes writes a file, and with --json tells its digest.
func (s *session) saveBytes(path string, b []byte) error {
	if err := durable.WriteFile(path, b, durable.Public); err != nil || !s.asJSON {
		return err
	}
	return s.printJSON(struct {
		File   string      `json:"file"`
		Digest core.Digest `json:"digest"`
	}{path, core.DigestOf(b)})
}
