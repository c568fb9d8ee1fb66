package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
)

func (s *session) marketCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "market", Short: "See what can be had, and for how much", Example: "  atoll market offers"}
	cmd.AddCommand(s.offersCmd())
	return cmd
}

func (s *session) offersCmd() *cobra.Command {
	var q client.OfferQuery
	maxPrice := ""
	cmd := &cobra.Command{
		Use: "offers", Short: "List the nodes that take work now", Args: cobra.NoArgs,
		Long: `List nodes with their price for each lease, what their leases took from dispatch
to durable report (half were faster than P50, all but one in a hundred than P99),
and how reliable they have been: the mean, and the 5th percentile by which they
are ranked, so that one who has hardly worked yet does not look perfect.

LOADED are the models that a node has in memory. Others it has to fetch and load
first; the market takes ten seconds of that for as bad as twice the price.`,
		Example: "  atoll market offers --country FR --sort p50",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if maxPrice != "" {
				if q.MaxPrice, err = money("--max-price", maxPrice); err != nil {
					return err
				}
			}
			if q.Country != "" {
				if q.Country, err = country(q.Country); err != nil {
					return err
				}
			}
			c, err := s.client()
			if err != nil {
				return err
			}
			offers, err := client.Collect(c.Offers(cmd.Context(), q))
			if err != nil {
				return err
			}
			if len(offers) == 0 {
				fmt.Fprintln(s.err, "no node that fits takes work now")
			}
			return show(s, offers, "NODE OWNER PRICE COUNTRY REGION ENGINES LOADED P50 P99 RELIABILITY P5 FREE", func(o api.Offer) []string {
				return []string{string(o.Node), string(o.Owner), o.Price.String(), o.Country, o.Region, strings.Join(o.Engines, ","), strings.Join(o.Loaded, ","),
					millis(o.P50Ms), millis(o.P99Ms), share(o.Reliability), share(o.ReliabilityP5), fmt.Sprint(o.Free)}
			})
		},
	}
	cmd.Flags().StringVar(&q.Country, "country", "", "`CODE` of the only country wanted, ISO 3166, such as FR")
	cmd.Flags().StringVar(&q.Engine, "engine", "", "`ENGINE` that must be offered: text or wasm")
	cmd.Flags().StringVar(&q.Sort, "sort", "", "`KEY` to sort by: price, p50, p99 or reliability; with - in front: descending (default: price)")
	cmd.Flags().StringVar(&q.Selector, "selector", "", "`LABELS` that nodes must have, such as 'tier in (gold), !spot'")
	cmd.Flags().StringVar(&maxPrice, "max-price", "", "`CREDITS` for each lease at most")
	cmd.Flags().Float64Var(&q.MinReliability, "min-reliability", 0, "`SHARE`, 0 to 1: the 5th percentile of reliability at least")
	s.jsonFlag(cmd)
	return cmd
}
