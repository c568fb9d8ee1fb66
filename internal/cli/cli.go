// Package cli is Atoll's command line: each verb parses its flags, asks the hub
// through package client, and prints what a person or a script can use.
//
// # Streams
//
// What was asked for goes to standard output, everything else to standard
// error: progress (on a terminal only), hints, problems. Each verb that shows
// data has --json.
//
// # Exit codes
//
//	0  done
//	1  failed: the hub refused or could not be reached, a file could not be read
//	2  usage: a verb or flag is wrong
//	3  the work was done and the answer is no: the task did not succeed, a
//	   receipt was refused, a check failed
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/cli/term"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitNo     = 3
)

const untrustedHint = "a hub away from loopback has a CA of its own: copy keys/ca.crt from its --dir to this machine and give --ca-cert FILE, once with \"atoll context add\""

// errNo means that the answer is no; what there was to say has been said.
var errNo = errors.New("the answer is no")

// usageError is a mistake in flags or arguments.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// session is one run of the program.
type session struct {
	env      Env
	rt       Runtime
	out, err term.Out

	url, key, context, caFile string // flags
	asJSON                    bool
	asked                     string // the hub that is talked to, in words; empty: none yet
}

// Run runs the verb that env.Args name and returns the exit code.
func Run(ctx context.Context, env Env, rt Runtime) int {
	s := &session{env: env, rt: rt, out: term.New(env.Stdout, env.Getenv), err: term.New(env.Stderr, env.Getenv)}
	root := s.root()
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return s.exit(cmd, err)
}

// exit tells what went wrong, and what to do about it.
func (s *session) exit(cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errNo) {
		return exitNo
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(s.err, "interrupted")
		return exitFailed
	}
	text, hint := s.words(err)
	fmt.Fprintf(s.err, "%s %s\n", s.err.Red("error:"), term.Clean(text))
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(s.err, "see: %s --help\n", cmd.CommandPath())
		return exitUsage
	}
	if hint != "" {
		fmt.Fprintln(s.err, "hint:", hint)
	}
	if p, ok := errors.AsType[*api.Problem](err); ok && p.RequestID != "" {
		fmt.Fprintf(s.err, "request: %s to %s\n", term.Clean(p.RequestID), s.asked)
	}
	return exitFailed
}

// words are what a person is told of an error, and what this side can add to it.
// What the hub refuses brings a hint of its own, all but a missing key.
func (s *session) words(err error) (text, hint string) {
	text = err.Error()
	p, refused := errors.AsType[*api.Problem](err)
	switch {
	case refused && p.Status == 401:
		return strings.Replace(text, " ("+p.Hint+")", "", 1), "choose a context that has a key (\"atoll context list\"), or give --key or ATOLL_API_KEY; the operator makes keys with \"atoll key create ACCOUNT\""
	case client.Untrusted(err):
		hint = untrustedHint
	case errors.Is(err, http.ErrSchemeMismatch):
		hint = "what answers there speaks plain HTTP: if it is the hub, its address begins with http://"
	case client.Unreachable(err):
		hint = "is the hub running? \"atoll up\" starts one, \"atoll context list\" says which others you know, \"atoll doctor\" looks closer"
	}
	return inVerbs(text), hint
}

func (s *session) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "atoll",
		Short: "Pool machines of many owners to run AI, and check every result",
		Long: `Atoll lets many owners pool their machines. You submit a task; nodes of
strangers do its parts; their answers are compared, paid, and leave receipts
that anybody can check offline.

New here?
  atoll quickstart             see the whole of it in a minute, nothing to set up
  atoll up                     start a hub and three nodes on this machine
  atoll submit --help          submit work of your own

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the answer is no (a task that did
not succeed, a receipt that was refused, a check that failed).`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	f := root.PersistentFlags()
	f.StringVar(&s.url, "url", "", "`ADDRESS` of the hub, such as https://hub.example:8420 (or ATOLL_URL; default: the current context)")
	f.StringVar(&s.key, "key", "", "API `KEY` (or ATOLL_API_KEY; default: the context's)")
	f.StringVar(&s.context, "context", "", "`NAME` of the client context to use (see: atoll context list)")
	f.StringVar(&s.caFile, "ca-cert", "", "`FILE` with the certificate (PEM) of a hub that has its own CA (or ATOLL_CA_CERT)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, g := range [][2]string{{"start", "Start here:"}, {"work", "Submit work:"}, {"run", "Run machines:"}, {"prove", "Prove and account:"}, {"tools", "Tools:"}} {
		root.AddGroup(&cobra.Group{ID: g[0], Title: g[1]})
	}
	s.group(root, "start", s.quickstartCmd(), s.upCmd(), s.contextCmd(), s.doctorCmd())
	s.group(root, "work", s.submitCmd(), s.taskCmd(), s.modelCmd(), s.serveCmd(), s.fedCmd(), s.datasetCmd(), s.marketCmd())
	s.group(root, "run", s.hubCmd(), s.nodeCmd(), s.joinCmd(), s.tokenCmd())
	s.group(root, "prove", s.receiptCmd(), s.accountCmd(), s.keyCmd(), s.auditCmd())
	s.group(root, "tools", s.benchCmd(), s.versionCmd())
	root.SetHelpCommandGroupID("tools")
	root.SetCompletionCommandGroupID("tools")
	usageArgs(root)
	helpArgs(root)
	return root
}

func (s *session) group(root *cobra.Command, id string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// usageArgs makes wrong arguments a usage error, in every verb below cmd. A verb
// that only holds others says so instead of doing nothing.
func usageArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if check(c, args) != nil {
				return usagef("\"%s\" takes %s; it was given %s", c.CommandPath(), takes(c.Use), english.Plural(len(args), "argument", ""))
			}
			return nil
		}
	}
	if cmd.HasSubCommands() && cmd.Run == nil && cmd.RunE == nil {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no verb %q in \"%s\"%s", args[0], c.CommandPath(), suggest(c, args[0]))
			}
			return c.Help()
		}
	}
	for _, c := range cmd.Commands() {
		usageArgs(c)
	}
}

// helpArgs makes "atoll help" refuse a verb that there is not.
func helpArgs(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, _ := root.Find([]string{"help"}) // made by the line above
	help.Args = func(_ *cobra.Command, args []string) error {
		c, rest, err := root.Find(args)
		if err == nil && len(rest) > 0 {
			err = usagef("there is no verb %q in \"%s\"%s", rest[0], c.CommandPath(), suggest(c, rest[0]))
		}
		return err
	}
}

// takes names the arguments in a verb's line of usage, such as "URL TOKEN".
func takes(use string) string {
	_, rest, _ := strings.Cut(use, " ")
	rest, _, _ = strings.Cut(rest, "--")
	rest = strings.TrimSpace(strings.TrimSuffix(rest, "["))
	if rest == "" {
		return "no arguments"
	}
	return rest
}

func suggest(c *cobra.Command, word string) string {
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(word); len(near) > 0 {
		return "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return ""
}

// jsonFlag gives a verb --json.
func (s *session) jsonFlag(cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.Flags().BoolVar(&s.asJSON, "json", false, "print JSON")
	}
}

// printJSON writes v to standard output.
func (s *session) printJSON(v any) error {
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// hint tells a person at a terminal what could come next.
func (s *session) hint(format string, args ...any) {
	if s.err.TTY {
		fmt.Fprintf(s.err, format+"\n", args...)
	}
}

// logger is what the long-running verbs log to.
func (s *session) logger(level, format string) (*slog.Logger, error) {
	opt := &slog.HandlerOptions{}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %q: want debug, info, warn or error", level)
	}
	opt.Level = l
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(s.err, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(s.err, opt)), nil
	}
	return nil, usagef("--log-format %q: want text or json", format)
}
