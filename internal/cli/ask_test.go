package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"atoll/internal/cli"
)

// joining is what came of "atoll join" with a person who types what is given.
func joining(t *testing.T, typed string, args ...string) (runs []cli.NodeConfig, code int, said string) {
	t.Helper()
	f := newFake()
	t.Cleanup(f.close)
	rt := pretend
	rt.Joined = func(string) (cli.NodeAccess, error) {
		return cli.NodeAccess{NodeReady: cli.NodeReady{Node: "paris-1", Owner: "alice", HubURL: f.url}, Key: nodeKey}, nil
	}
	rt.NodeRun = func(ctx context.Context, c cli.NodeConfig) error {
		runs = append(runs, c)
		if c.OnReady == nil {
			return nil
		}
		err := c.OnReady(cli.NodeReady{Node: "paris-1", Owner: "alice", HubURL: c.Hub})
		if (ctx.Err() != nil) != (err == nil && strings.Contains(typed, "again")) {
			return fmt.Errorf("ended: %v, after %w", ctx.Err(), err)
		}
		return err
	}
	env := map[string]string{"XDG_CONFIG_HOME": t.TempDir()}
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), cli.Env{
		Args:  append([]string{"join", f.url, "TOKEN", "--dir", t.TempDir()}, args...),
		Stdin: strings.NewReader(strings.ReplaceAll(typed, "again", "")), Stdout: &out, Stderr: &errs, Getenv: func(k string) string { return env[k] }, Interactive: true,
	}, rt)
	return runs, code, errs.String()
}

// A person is asked for what was not given. The node in the fake asks 0.03, others
// 0.02: the one who takes that (marked "again") has the node run anew.
func TestJoinAsks(t *testing.T) {
	t.Parallel()
	const offer, price = "Offer qwen2.5:7b, phi4 of Ollama at http://127.0.0.1:11434 to others? [y/N]", "Credits for each lease? [%s]"
	for _, c := range []struct {
		name, typed string
		args        []string
		asked       []string // in this order
		not         []string
		country     string
		server      bool
		prices      []string // of each run
	}{
		{name: "all, with the defaults but for the country", typed: "de\n\n\n0.03\n", asked: []string{"In which country", offer, fmt.Sprintf(price, "0.01"), fmt.Sprintf(price, "0.02")}, country: "DE", prices: []string{"0.01"}},
		{name: "the suggested price is taken", typed: "DE\nn\n0.05\nagain\n", asked: []string{fmt.Sprintf(price, "0.01"), fmt.Sprintf(price, "0.02"), "from now on for 0.02"}, country: "DE", prices: []string{"0.05", "0.02"}},
		{name: "the server is offered", typed: "y\n0.03\n0.03\n", args: []string{"--country", "FR"}, asked: []string{offer}, not: []string{"In which country", "not offered"}, country: "FR", server: true, prices: []string{"0.03"}},
		{name: "wrong answers", typed: "Germany\nQQ\nDE\nperhaps\nno\nmuch\n1\n0.03\n", asked: []string{`"Germany": want the two letters`, `"QQ": want`, "y or n, please", "the price:"}, country: "DE", prices: []string{"1.00"}},
		{name: "a price was given", typed: "n\n", args: []string{"--country", "FR", "--price", "0.03"}, asked: []string{offer, "not offered"}, not: []string{"Credits for"}, country: "FR", prices: []string{"0.03"}},
		{name: "nobody is asked", args: []string{"--country", "FR", "--yes"}, asked: []string{"not offered"}, not: []string{"?"}, country: "FR", prices: []string{"0.01"}},
		{name: "nobody is asked with --json", args: []string{"--country", "FR", "--json"}, not: []string{"?"}, country: "FR", prices: []string{"0.01"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			runs, code, said := joining(t, c.typed, c.args...)
			if code != 0 || len(runs) != len(c.prices) {
				t.Fatalf("code %d, %d runs, said:\n%s", code, len(runs), said)
			}
			for i, r := range runs {
				if r.Country != c.country || (r.OpenAI != nil) != c.server || r.Price.String() != c.prices[i] {
					t.Errorf("run %d: country %s, server %v, price %s", i, r.Country, r.OpenAI, r.Price)
				}
			}
			rest := said
			for _, q := range c.asked {
				_, after, ok := strings.Cut(rest, q)
				if !ok {
					t.Fatalf("%q was not said, or not in its turn:\n%s", q, said)
				}
				rest = after
			}
			for _, q := range c.not {
				if strings.Contains(said, q) {
					t.Errorf("%q was said:\n%s", q, said)
				}
			}
		})
	}
}

// Who does not answer joins nothing.
func TestJoinWithoutAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typed, want string
		args        []string
	}{
		{"", "no answer", nil},
		{"DE\n", "no answer", nil},
		{"", "say where the node stands", []string{"--yes"}},
	} {
		if runs, code, said := joining(t, c.typed, c.args...); code != 2 || len(runs) != 0 || !strings.Contains(said, c.want) {
			t.Errorf("typed %q: code %d, %d runs, said:\n%s", c.typed, code, len(runs), said)
		}
	}
}
