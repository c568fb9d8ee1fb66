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
