package cli

import (
	"github.com/spf13/cobra"

	"atoll/internal/cli/term"
)

// Verb is what tests look at of a verb.
type Verb struct {
	Path, Short, Example string
	Leaf, JSON           bool
}

// Verbs lists all of them.
func Verbs() (out []Verb) {
	s := &session{env: Env{Getenv: func(string) string { return "" }}, out: term.Out{}, err: term.Out{}}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		out = append(out, Verb{Path: c.CommandPath(), Short: c.Short, Example: c.Example, Leaf: !c.HasSubCommands(), JSON: c.Flags().Lookup("json") != nil})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(s.root())
	return out
}
