// Package market decides which nodes get a part's leases. It is pure:
//
//	filter   which nodes may do it at all, and in words why the others may not
//	rank     the rest, by the expected price of a verified result
//	place    the best, with distinct owners, and a small share for newcomers
//
// Prices are posted by the nodes, per lease. The randomness comes from the
// caller's seed, so that a placement can be replayed.
package market

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"atoll/internal/core"
	"atoll/internal/planted"
	"atoll/internal/policy"
)

// Offer is a node as the market sees it at one moment.
type Offer struct {
	Node      core.NodeID
	Owner     core.AccountID
	Up        bool
	Draining  bool
	Price     core.Money
	Country   string
	Region    string
	Labels    map[string]string
	Engines   []string
	Upstreams []string // models of its own server
	Arch      string
	CPUMillis int64
	Memory    int64
	GPUs      []GPU
	Accounts  []core.AccountID // serves only these; empty: all
	Slots     int              // leases it runs at once
	Queue     int              // leases it holds at once
	InFlight  int              // leases it holds now
	Loaded    []core.Digest    // models in its memory
	LoadRate  int64            // bytes of a model that it fetches and loads in a second; 0 if unknown
	Line      string           // the line that it heads, in an offer of a line
	P50Ms     float64          // dispatch to report; 0 if unknown
	Mean      float64          // reliability, expected
	P5        float64          // reliability, 5th percentile
	Seen      float64          // observations behind it
	Suspect   bool             // a result of its was found wrong not long ago
}

// GPU is one accelerator of an offer.
type GPU struct {
	Type   string
	Memory int64
}

// Request is what a task asks of every node.
type Request struct {
	Account        core.AccountID
	Engine         string
	Model          core.Digest
	ModelSize      int64
	Upstream       string // the model that the node's own server must have; empty: none
	Residency      policy.Residency
	Regions        []string
	Selector       policy.Selector
	CPUMillis      int64
	Memory         int64
	GPUs           int
	GPUType        string
	GPUMemory      int64
	MinReliability float64
	Distinct       bool // no two leases of a part with one owner
	Trusting       bool // not each result is checked: suspects are left out
}

// Used is what a part has already tried.
type Used struct {
	Node    core.NodeID
	Owner   core.AccountID
	Arch    string
	Barred  bool // the node declined, or its result was wrong: not again for this part
	Counted bool // its lease is out, or its result counts: its owner is taken
}

// Choice is the outcome of one placement.
type Choice struct {
	Offers []*Offer
	// Busy is set when a node was left out only because it is full: it is worth
	// trying again as soon as a lease ends.
	Busy bool
}

// Place picks up to n offers for one part, each costing at most budget in sum.
func Place(r *Request, offers []*Offer, used []Used, arch string, n int, budget core.Money, seed uint64) Choice {
	var c Choice
	fit := make([]*Offer, 0, len(offers))
	for _, o := range offers {
		switch r.Why(o, used, arch, budget) {
		case "":
			fit = append(fit, o)
		case whyBusy:
			c.Busy = true
		}
	}
	if len(fit) == 0 {
		return c
	}
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	ranked := r.rank(fit, used, rng)
	for len(c.Offers) < n {
		i := r.pick(ranked, rng)
		if i < 0 {
			break
		}
		o := ranked[i]
		c.Offers = append(c.Offers, o)
		budget -= o.Price
		if arch != "" {
			arch = o.Arch
		}
		ranked = slices.DeleteFunc(ranked, func(x *Offer) bool {
			return x == o || x.Price > budget || (r.Distinct && x.Owner == o.Owner)
		})
	}
	return c
}

const whyBusy = "all its slots are taken"

// Why returns why the offer cannot be used for a part, in words, or "".
// arch, if set, is the platform class of the part's other replicas, or "any"
// while there are none.
func (r *Request) Why(o *Offer, used []Used, arch string, budget core.Money) string {
	if why := r.never(o); why != "" {
		return why
	}
	for i := range used {
		u := &used[i]
		switch {
		case u.Node == o.Node && u.Counted:
			return "already holds a lease of this part"
		case u.Node == o.Node && u.Barred:
			return "declined this part, or answered it wrongly"
		case r.Distinct && u.Counted && u.Owner == o.Owner:
			return fmt.Sprintf("owner %s already holds a lease of this part", o.Owner)
		}
	}
	switch {
	case arch != "" && arch != "any" && o.Arch != arch:
		return fmt.Sprintf("the model uses floats and the other replicas run on %s, not %s", arch, o.Arch)
	case o.Price > budget:
		return fmt.Sprintf("price %s is over the %s left of the budget", o.Price, budget)
	case o.InFlight >= o.Queue:
		return whyBusy
	}
	return ""
}

// Never returns why a node cannot be used for any part of the task just now, or
// "".
func (r *Request) Never(o *Offer, budget core.Money) string {
	if why := r.never(o); why != "" {
		return why
	}
	if o.Price > budget {
		return fmt.Sprintf("price %s is over the %s left of the budget", o.Price, budget)
	}
	return ""
}

func (r *Request) never(o *Offer) string {
	switch {
	case !r.Residency.Allows(o.Country):
		return fmt.Sprintf("residency %s: the node is in %s", strings.Join(r.Residency.Resolved(), ", "), o.Country)
	case o.Draining: // whether it has left already or not
		return "draining"
	case !o.Up:
		return "not heard of for some seconds"
	case !slices.Contains(o.Engines, r.Engine):
		return fmt.Sprintf("does not run engine %s", r.Engine)
	case r.Upstream != "" && len(o.Upstreams) == 0:
		return fmt.Sprintf("its own server, which should have the model %s, is down or has no models", r.Upstream)
	case r.Upstream != "" && !slices.Contains(o.Upstreams, r.Upstream):
		return fmt.Sprintf("its own server does not have the model %s, only %s", r.Upstream, some(o.Upstreams))
	case len(o.Accounts) > 0 && !slices.Contains(o.Accounts, r.Account):
		return fmt.Sprintf("does not serve account %s", r.Account)
	case len(r.Regions) > 0 && !slices.Contains(r.Regions, o.Region):
		return fmt.Sprintf("region %q is not among %s", o.Region, strings.Join(r.Regions, ", "))
	case !r.Selector.Matches(o.Labels):
		return fmt.Sprintf("labels do not match %s", r.Selector)
	case r.CPUMillis > o.CPUMillis:
		return fmt.Sprintf("has %dm CPU, %dm asked for", o.CPUMillis, r.CPUMillis)
	case r.Memory > o.Memory:
		return fmt.Sprintf("has %d MiB memory, %d MiB asked for", o.Memory>>20, r.Memory>>20)
	case !r.gpus(o):
		return fmt.Sprintf("has not the %d GPU asked for", r.GPUs)
	case r.Trusting && o.Suspect && o.Owner != r.Account && !planted.Suspect:
		return "has given a wrong result lately, and not all results would be checked"
	case o.Mean < r.MinReliability:
		return fmt.Sprintf("reliability %.2f is under the %.2f asked for", o.Mean, r.MinReliability)
	}
	return ""
}

// some names the first of many.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func (r *Request) gpus(o *Offer) bool {
	n := 0
	for _, g := range o.GPUs {
		if (r.GPUType == "" || strings.Contains(strings.ToLower(g.Type), strings.ToLower(r.GPUType))) && g.Memory >= r.GPUMemory {
			n++
		}
	}
	return n >= r.GPUs
}
