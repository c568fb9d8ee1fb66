package atoll

import (
	"cmp"
	"context"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/policy"
)

type offersInput struct {
	Paging
	Sort           string            `query:"sort" enum:"price,-price,p50,-p50,p99,-p99,latency,-latency,reliability,-reliability" default:"price" doc:"ascending, or descending with -; latency is p50"`
	Country        string            `query:"country" maxLength:"2" doc:"ISO 3166-1, two capital letters"`
	Engine         string            `query:"engine" maxLength:"63"`
	MaxPrice       param[core.Money] `query:"max_price" example:"0.05"`
	MinReliability float64           `query:"min_reliability" minimum:"0" maximum:"1" doc:"of the 5th percentile"`
	Selector       string            `query:"selector" maxLength:"4096" doc:"label selector in Kubernetes syntax"`
}

func (s *server) addMarket() {
	add(s, route{method: "GET", path: "/v1/market/offers", id: "list-offers", tag: "market", scope: auth.Read, summary: "List the nodes that can be had now"},
		func(ctx context.Context, in *offersInput) (*list[api.Offer], error) {
			keep, err := in.filter()
			if err != nil {
				return nil, err
			}
			all, err := s.hub.Offers(ctx)
			if err != nil {
				return nil, err
			}
			rows := make([]api.Offer, 0, len(all))
			for i := range all {
				if keep(&all[i]) {
					rows = append(rows, all[i])
				}
			}
			return in.cut(rows)
		})
}

// filter checks the query and returns which offers it asks for.
func (in *offersInput) filter() (func(*api.Offer) bool, error) {
	if math.IsNaN(in.MinReliability) {
		return nil, core.Errorf(core.Invalid, "want 0 to 1").At("min_reliability")
	}
	selector, err := policy.ParseSelector(in.Selector)
	if err != nil {
		return nil, core.Errorf(core.KindOf(err), "%w", err).At("selector")
	}
	return func(o *api.Offer) bool {
		return (in.Country == "" || o.Country == in.Country) &&
			(in.Engine == "" || slices.Contains(o.Engines, in.Engine)) &&
			(in.MaxPrice.Value == 0 || o.Price <= in.MaxPrice.Value) &&
			o.ReliabilityP5 >= in.MinReliability &&
			selector.Matches(o.Labels)
	}, nil
}

// offerKey is where an offer stands in a listing: its value, then its name.
// Offers change while they are listed, so a cursor is the last row's key rather
// than a count: what has not moved is neither left out nor repeated.
type offerKey struct {
	value float64
	node  core.NodeID
}

func (k offerKey) compare(o offerKey) int {
	return cmp.Or(cmp.Compare(k.value, o.value), strings.Compare(string(k.node), string(o.node)))
}

func (in *offersInput) key(o *api.Offer) offerKey {
	field, down := strings.CutPrefix(in.Sort, "-")
	k := offerKey{node: o.Node}
	switch field {
	case "p50", "latency":
		k.value = unknownLast(o.P50Ms, down)
	case "p99":
		k.value = unknownLast(o.P99Ms, down)
	case "reliability":
		k.value = o.ReliabilityP5
	default:
		k.value = float64(o.Price)
	}
	if down {
		k.value = -k.value
	}
	return k
}

// unknownLast puts nodes whose latency nobody has seen behind the others.
func unknownLast(ms float64, down bool) float64 {
	switch {
	case ms > 0:
		return ms
	case down:
		return -math.MaxFloat64
	default:
		return math.MaxFloat64
	}
}

// cut sorts the offers and returns the page asked for.
func (in *offersInput) cut(rows []api.Offer) (*list[api.Offer], error) {
	slices.SortFunc(rows, func(a, b api.Offer) int { return in.key(&a).compare(in.key(&b)) })
	if in.Cursor != "" {
		after, err := parseOfferKey(in.Cursor)
		if err != nil {
			return nil, err
		}
		first := len(rows)
		for i := range rows {
			if in.key(&rows[i]).compare(after) > 0 {
				first = i
				break
			}
		}
		rows = rows[first:]
	}
	next := ""
	if len(rows) > in.Limit {
		rows = rows[:in.Limit]
		next = in.key(&rows[in.Limit-1]).String()
	}
	return listOf(rows, next, nil)
}

// String is the key as a cursor.
func (k offerKey) String() string {
	text := strconv.FormatUint(math.Float64bits(k.value), 16) + " " + string(k.node)
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func parseOfferKey(cursor string) (offerKey, error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	bits, node, ok := strings.Cut(string(text), " ")
	v, err2 := strconv.ParseUint(bits, 16, 64)
	if err != nil || err2 != nil || !ok || math.IsNaN(math.Float64frombits(v)) {
		return offerKey{}, badCursor()
	}
	return offerKey{math.Float64frombits(v), core.NodeID(node)}, nil
}
