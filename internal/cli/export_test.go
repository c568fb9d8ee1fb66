package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"atoll/internal/cli/term"
)

// For tests of the words.
var (
	InVerbs = inVerbs
	InFlags = inFlags
)

// Keep is what quickstart does with its context while its network is left running.
func Keep(ctx context.Context, env Env, url string) error {
	s := &session{env: env, err: term.New(env.Stderr, env.Getenv)}
	return s.keep(ctx, hubEntry{URL: url})
}

// Verb is what tests look at of a verb.
type Verb struct {
	Path, Short, Example string
	Leaf, JSON           bool
	Unnamed              []string // flags whose help does not say what their value is
}

// Verbs lists all of them.
func Verbs() (out []Verb) {
	s := &session{env: Env{Getenv: func(string) string { return "" }}, out: term.Out{}, err: term.Out{}}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		v := Verb{Path: c.CommandPath(), Short: c.Short, Example: c.Example, Leaf: !c.HasSubCommands(), JSON: c.Flags().Lookup("json") != nil}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() != "bool" && !strings.Contains(f.Usage, "`") {
				v.Unnamed = append(v.Unnamed, "--"+f.Name)
			}
		})
		out = append(out, v)
		for _, sub := range c.Commands() {
			if !sub.Hidden { // those that the program starts itself
				walk(sub)
			}
		}
	}
	walk(s.root())
	return out
}
