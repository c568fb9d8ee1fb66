package cli_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"atoll/internal/cli"
)

// until calls then once what is written holds a text.
type until struct {
	bytes.Buffer
	text string
	then func()
}

func (u *until) Write(b []byte) (int, error) {
	n, err := u.Buffer.Write(b)
	if strings.Contains(u.String(), u.text) {
		u.then()
	}
	return n, err
}

// Who stops watching hears that the task goes on, and how to see it again.
func TestInterruptedWatch(t *testing.T) {
	t.Parallel()
	f := newFake()
	t.Cleanup(f.close)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stdout bytes.Buffer
	stderr := &until{text: "task " + stuckID.String(), then: interrupt}
	code := cli.Run(ctx, cli.Env{
		Args:  []string{"--url", f.url, "--key", "atl_key_test", "submit", "--model", "stuck", "--input", "-", "--watch"},
		Stdin: strings.NewReader("{}\n"), Stdout: &stdout, Stderr: stderr,
		Getenv: func(name string) string { return map[string]string{"XDG_CONFIG_HOME": t.TempDir()}[name] },
	}, pretend)
	if code != 1 || !strings.Contains(stderr.String(), "the task goes on") || !strings.Contains(stderr.String(), "atoll task events "+stuckID.String()) {
		t.Errorf("exit code %d, told %q", code, stderr)
	}
}

// A network that is left running has a context for as long as it runs; then the
// verbs talk to whom they did before.
func TestKeptContextEndsWithItsNetwork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	getenv := func(name string) string { return map[string]string{"XDG_CONFIG_HOME": dir}[name] }
	atoll := func(args ...string) string {
		var out bytes.Buffer
		if code := cli.Run(t.Context(), cli.Env{Args: args, Stdout: &out, Stderr: &out, Getenv: getenv}, pretend); code != 0 {
			t.Errorf("%q: exit code %d: %s", args, code, &out)
		}
		return out.String()
	}
	atoll("context", "add", "mine", "--url", "http://127.0.0.1:1")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var during string
	stderr := &until{text: "until Ctrl-C", then: func() {
		during = atoll("context", "show")
		interrupt()
	}}
	if err := cli.Keep(ctx, cli.Env{Stderr: stderr, Getenv: getenv}, "http://127.0.0.1:2"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(during, "http://127.0.0.1:2") {
		t.Errorf("while it ran: %s", during)
	}
	if after := atoll("context", "list"); strings.Contains(after, "quickstart") || !strings.Contains(after, "*        mine") {
		t.Errorf("afterwards: %s", after)
	}
}
