package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
)

// verb is a verb that talks to the hub. Example is one command, or several lines of
// them.
func (s *session) verb(use, short, example string, args cobra.PositionalArgs, run func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	example = "  " + strings.ReplaceAll(example, "\n", "\n  ")
	return &cobra.Command{Use: use, Short: short, Example: example, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		return run(cmd, c, args)
	}}
}

func (s *session) accountCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Balances, credit and statements",
		Long: `Requesters pay from an account, owners of nodes are paid to theirs. A task holds
its budget when it is submitted; verified leases are paid from the hold; the rest
comes back.`,
		Example: `  atoll account list
  atoll account create alice --credit 100
  atoll account statement alice`,
	}
	list := s.verb("list", "List balances", "atoll account list", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		return showAll(s, c.Accounts(cmd.Context()), 0, "ACCOUNT AVAILABLE HELD STORED OF CREATED", func(a api.Account) []string {
			return []string{string(a.ID), a.Available.String(), a.Held.String(), bytesOf(a.StoredBytes), bytesOf(a.StorageLimit), clock(a.CreatedAt)}
		})
	})
	limit := 0
	statement := s.verb("statement [ACCOUNT]", "List an account's transfers, newest first", "atoll account statement\natoll account statement alice --limit 0 --json", cobra.MaximumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		id, err := s.whose(cmd, c, args)
		if err != nil {
			return err
		}
		return showAll(s, c.Statement(cmd.Context(), id), limit, "TIME KIND FROM TO AMOUNT TASK LEASE MEMO", func(t api.Transfer) []string {
			return []string{clock(t.Time), t.Kind, string(t.Debit), string(t.Credit), t.Amount.String(), set(t.Task != 0, t.Task), set(t.Lease != 0, t.Lease), t.Memo}
		})
	})
	statement.Flags().IntVar(&limit, "limit", 50, "`NUMBER` of transfers to show at most; 0: all")
	create, credit := s.accountCreateCmd(), s.accountCreditCmd()
	s.jsonFlag(list, statement, create, credit)
	cmd.AddCommand(list, create, credit, statement)
	return cmd
}

func set(is bool, v fmt.Stringer) string {
	if !is {
		return "-"
	}
	return v.String()
}

// whose is the account named, or the only one that the key may see.
func (s *session) whose(cmd *cobra.Command, c *client.Client, args []string) (core.AccountID, error) {
	if len(args) == 1 {
		return core.AccountID(args[0]), nil
	}
	rows, err := client.Collect(c.Accounts(cmd.Context()))
	if err != nil {
		return "", err
	}
	if len(rows) == 1 {
		return rows[0].ID, nil
	}
	var names []string
	for _, a := range rows {
		if names = append(names, string(a.ID)); len(names) == 10 {
			names = append(names, "…")
			break
		}
	}
	return "", usagef("this key sees %d accounts, name the one that is meant: %s", len(rows), strings.Join(names, ", "))
}

func (s *session) accountCreateCmd() *cobra.Command {
	var amount, memo string
	cmd := s.verb("create NAME", "Open an account (scope admin)", "atoll account create alice --credit 100 --memo 'to begin with'", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		m, err := money("--credit", amount)
		if err != nil {
			return err
		}
		a, err := c.CreateAccount(cmd.Context(), core.AccountID(args[0]), m, memo)
		return s.printAccount(a, err)
	})
	cmd.Flags().StringVar(&amount, "credit", "0", "`CREDITS` to start with")
	cmd.Flags().StringVar(&memo, "memo", "", "`TEXT` that says what for")
	return cmd
}

func (s *session) accountCreditCmd() *cobra.Command {
	var memo, key string
	cmd := s.verb("credit NAME AMOUNT", "Issue credits to an account (scope admin)", "atoll account credit alice 25.50 --memo 'invoice 17' --idempotency-key invoice-17", cobra.ExactArgs(2), func(cmd *cobra.Command, c *client.Client, args []string) error {
		m, err := money("amount", args[1])
		if err != nil {
			return err
		}
		a, err := c.Credit(cmd.Context(), core.AccountID(args[0]), m, key, memo)
		return s.printAccount(a, err)
	})
	cmd.Flags().StringVar(&memo, "memo", "", "`TEXT` that says what for")
	cmd.Flags().StringVar(&key, "idempotency-key", "", "`KEY`: issue once, however often this is run with the same one")
	return cmd
}

func money(what, text string) (core.Money, error) {
	m, err := core.ParseMoney(text)
	if err != nil {
		return 0, usagef("%s: %w", what, err)
	}
	return m, nil
}

func (s *session) printAccount(a api.Account, err error) error {
	if err != nil {
		return err
	}
	if s.asJSON {
		return s.printJSON(a)
	}
	fmt.Fprintf(s.out, "%s: %s available, %s held\n", a.ID, a.Available, a.Held)
	return nil
}

func (s *session) keyCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Make, list and revoke API keys", Example: "  atoll key create alice --scopes read"}
	list := s.verb("list", "List API keys by their IDs (scope admin)", "atoll key list", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		return showAll(s, c.Keys(cmd.Context()), 0, "ID ACCOUNT NODE SCOPES CREATED", func(k api.APIKey) []string {
			return []string{k.ID, string(k.Account), cmp.Or(string(k.Node), "-"), strings.Join(k.Scopes, ","), clock(k.CreatedAt)}
		})
	})
	scopes := []string{"requester", "read"}
	create := s.verb("create ACCOUNT", "Make an API key; it is shown once (scope admin)", "atoll key create alice --scopes read\natoll context add alice --url http://127.0.0.1:8420 --key $(atoll key create alice)", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		k, err := c.CreateKey(cmd.Context(), core.AccountID(args[0]), scopes...)
		if err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(k)
		}
		s.hint("key %s of %s, scopes %v. It is not shown again:", k.ID, k.Account, k.Scopes)
		fmt.Fprintln(s.out, k.Secret)
		return nil
	})
	create.Flags().StringSliceVar(&scopes, "scopes", scopes, "`SCOPES` of the key: admin, requester, read; requester submits and manages what the account owns, read only looks")
	create.Long = `Make an API key for an account. Its secret is printed once and stored nowhere; its
ID, with which it is revoked, is shown with --json and on a terminal.`
	revoke := s.verb("revoke ID", "Make a key useless (scope admin)", "atoll key revoke 3f9c2d17a04b8e65", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.RevokeKey(cmd.Context(), args[0]); err != nil {
			return err
		}
		fmt.Fprintf(s.err, "key %s is revoked\n", clean(args[0]))
		return nil
	})
	s.jsonFlag(create, list)
	cmd.AddCommand(create, list, revoke)
	return cmd
}

func (s *session) tokenCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make join tokens, with which nodes are let in", Example: "  atoll token create alice"}
	uses, ttl := 1, 24*time.Hour
	create := s.verb("create OWNER", "Make a join token for an owner's nodes; it is shown once (scope admin)", "atoll token create alice --uses 5 --ttl 72h", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		if uses < 1 || ttl <= 0 {
			return usagef("--uses %d, --ttl %s: want at least one use, and a time to live such as 72h", uses, ttl)
		}
		t, err := c.CreateJoinToken(cmd.Context(), core.AccountID(args[0]), uses, ttl)
		if err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(t)
		}
		s.hint("for %s of %s, until %s. On the machine that is to work:\n  atoll join %s TOKEN --country FR", english.Plural(t.Uses, "node", ""), t.Owner, clock(t.ExpiresAt), c.URL())
		fmt.Fprintln(s.out, t.Token)
		return nil
	})
	create.Flags().IntVar(&uses, "uses", uses, "`NUMBER` of nodes that may join with it")
	create.Flags().DurationVar(&ttl, "ttl", ttl, "`TIME` that it is good for, at most 8760h")
	s.jsonFlag(create)
	cmd.AddCommand(create)
	return cmd
}

func (s *session) auditCmd() *cobra.Command {
	cmd := s.verb("audit", "Check the whole ledger against its rules and the log (scope admin)", "atoll audit", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		a, err := c.Audit(cmd.Context())
		if err != nil {
			return err
		}
		if s.asJSON {
			err = s.printJSON(a)
		} else {
			s.printAudit(&a)
		}
		if err == nil && !a.OK {
			err = errNo
		}
		return err
	})
	cmd.Long = `Have the hub replay every transfer and compare: debits and credits, balances, no
part charged twice, and for each payment the signed verdict in the published log
that granted it. Exit code 3 if anything is wrong.`
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) printAudit(a *api.Audit) {
	check := func(ok bool, format string, args ...any) {
		fmt.Fprintf(s.out, "%s %s\n", s.out.Mark(ok), fmt.Sprintf(format, args...))
	}
	check(a.Debits == a.Credits, "debits %s = credits %s, over %s", a.Debits, a.Credits, english.Plural(int(a.Transfers), "transfer", ""))
	check(a.DoubleCharged == 0, "%s charged twice", english.Plural(int(a.DoubleCharged), "part or lease", "parts or leases"))
	check(a.Unverified == 0, "%s without a verdict in a published checkpoint", english.Plural(int(a.Unverified), "payment", ""))
	check(a.OK, "%s", english.Plural(len(a.Problems), "problem", ""))
	for _, p := range a.Problems {
		fmt.Fprintln(s.out, "  "+clean(p))
	}
}
