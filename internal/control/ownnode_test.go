package control

import (
	"strings"
	"testing"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/market"
)

func TestComparable(t *testing.T) {
	t.Parallel()
	at := func(owner string, price int64, up bool, engines, upstreams string) *market.Offer {
		return &market.Offer{Owner: core.AccountID(owner), Price: core.Money(price), Up: up, Engines: strings.Fields(engines), Upstreams: strings.Fields(upstreams)}
	}
	all := []*market.Offer{
		at("a", 10, true, "text", ""), at("b", 30, true, "text wasm", ""), at("c", 50, true, "text openai", "qwen phi"), at("d", 70, true, "openai", "phi"),
		at("e", 1, false, "text openai", "phi"), at("own", 2, true, "text openai", "phi"),
	}
	for name, c := range map[string]struct {
		o    *market.Offer
		want *api.Comparable
	}{
		"by engine":                {at("own", 5, true, "text", ""), &api.Comparable{Nodes: 3, Price: 30}},
		"by its own server's":      {at("own", 5, true, "text openai", "phi"), &api.Comparable{Nodes: 2, Price: 50}},
		"nobody does the same":     {at("own", 5, true, "text openai", "owl"), nil},
		"oneself is no comparison": {at("d", 5, true, "openai", "phi"), &api.Comparable{Nodes: 2, Price: 2}},
	} {
		got := likeOf(c.o, all)
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// A node that has nothing to do is told why.
func TestIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.join("paris-1", "alice", "FR", core.Credit/100)
	idle := func(want string) {
		t.Helper()
		n, err := w.hub.Node(t.Context(), "paris-1")
		if err != nil || !strings.Contains(n.Idle, want) || want == "" && n.Idle != "" {
			t.Errorf("idle %q, %v; want %q", n.Idle, err, want)
		}
	}
	idle("no task waits")
	w.mustSubmit(func(s *api.TaskSpec) { s.Residency = []string{"US"} })
	idle("1 task waits; for 1 of them: residency")
	w.mustSubmit(nil)
	idle("") // it has a lease
	if _, err := w.hub.Node(t.Context(), "nobody"); core.KindOf(err) != core.NotFound {
		t.Error(err)
	}
}
