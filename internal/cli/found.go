package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"atoll/api"
)

// Found is what a provider could offer beside the cores of its machine.
type Found struct {
	GPUs    []api.NodeGPU `json:"gpus"`
	Servers []FoundServer `json:"servers"`
}

// FoundServer is one of the provider's own that answers on loopback.
type FoundServer struct {
	Name   string   `json:"name"` // what usually listens at its port
	URL    string   `json:"url"`
	Models []string `json:"models"`
}

// printFound says what was found.
func (s *session) printFound(f Found) {
	for _, g := range f.GPUs {
		fmt.Fprintf(s.err, "found GPU %s with %s\n", clean(g.Type), bytesOf(g.Memory))
	}
	for _, x := range f.Servers {
		what := "no models"
		if len(x.Models) > 0 {
			what = clean(strings.Join(x.Models, ", "))
		}
		fmt.Fprintf(s.err, "found a server at %s (the port of %s) with %s\n", x.URL, x.Name, what)
	}
}

// printUnoffered says how what was found could be offered, where nothing of it is.
func (s *session) printUnoffered(f Found) {
	for _, x := range f.Servers {
		if len(x.Models) > 0 {
			fmt.Fprintf(s.err, "not offered: the models at %s; to offer them: --openai %s\n", x.URL, x.URL)
		}
	}
	if len(f.GPUs) > 0 && len(f.Servers) == 0 {
		fmt.Fprintln(s.err, "a GPU is used through a server of your own (vLLM, llama.cpp, Ollama): start one, then give its address with --openai")
	}
}

// printStanding says how a node stands in the market.
func (s *session) printStanding(n *api.Node) {
	fmt.Fprintf(s.err, "earned %s, pending %s%s\n", n.Earned, n.Pending, yes(n.Idle != "", "; idle: "+clean(n.Idle)))
	if suggestion := suggestPrice(n); suggestion != "" {
		fmt.Fprintln(s.err, suggestion)
	}
}

// heardWithin is how long a node that has just joined may take to be heard of.
const heardWithin = 5 * time.Second

// heardOf asks for the node of a directory until the hub has heard what it offers.
func (s *session) heardOf(ctx context.Context, dir string) (n api.Node, err error) {
	ctx, cancel := context.WithTimeout(ctx, heardWithin)
	defer cancel()
	for {
		if n, err = s.ownNode(ctx, dir); err != nil || n.State == "up" {
			return n, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return n, nil
		}
	}
}

// suggestPrice compares a node's price with that of its like.
func suggestPrice(n *api.Node) string {
	c := n.Comparable
	if c == nil {
		return fmt.Sprintf("no other owner's node does the same work: the price of %s is yours to set (--price)", n.Price)
	}
	text := fmt.Sprintf("%s of other owners doing the same work: the median price is %s, yours is %s", english.Plural(c.Nodes, "node", ""), c.Price, n.Price)
	switch {
	case n.Price > c.Price:
		return text + fmt.Sprintf("; for more work, suggested: --price %s", c.Price)
	case n.Price < c.Price:
		return text + fmt.Sprintf("; for more pay, suggested: --price %s", c.Price)
	}
	return text
}
