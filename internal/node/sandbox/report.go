package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Report says what is in force in a child, by the child's own account after it
// gave up its rights.
type Report struct {
	OS string `json:"os"` // GOOS/GOARCH
	// Seccomp is true when system calls outside the allow-list fail.
	Seccomp bool `json:"seccomp"`
	// Landlock is the kernel's Landlock version in force, 0 for none.
	Landlock int `json:"landlock"`
	// NoNewPrivs is true when set-user-ID programs give no rights.
	NoNewPrivs bool `json:"no_new_privs"`
	// ParentDeath is true when the kernel kills the child with its parent.
	ParentDeath bool `json:"parent_death"`
	// CPUClock is true when the parent can read the child's CPU time, and so
	// enforce a CPU limit per part.
	CPUClock bool `json:"cpu_clock"`
	// Rlimits names the resource limits that were set.
	Rlimits []string `json:"rlimits"`
	// Missing says in words what is not enforced and why.
	Missing []string `json:"missing,omitempty"`
	// Tried holds the outcome of each forbidden thing; only Probe fills it.
	Tried []Attempt `json:"tried,omitempty"`
}

// Attempt is one forbidden thing that a probe child tried.
type Attempt struct {
	What   string `json:"what"`
	Denied bool   `json:"denied"`
	Detail string `json:"detail"` // the error, or what was possible
}

func (r *Report) miss(format string, args ...any) {
	r.Missing = append(r.Missing, fmt.Sprintf(format, args...))
}

// String is one line for a log or a terminal.
func (r Report) String() string {
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	}
	landlock := "no"
	if r.Landlock > 0 {
		landlock = fmt.Sprintf("version %d", r.Landlock)
	}
	limits := strings.Join(r.Rlimits, " ")
	if limits == "" {
		limits = "none"
	}
	line := fmt.Sprintf("%s: seccomp %s, landlock %s, no new privileges %s, dies with parent %s, rlimits %s",
		r.OS, yes(r.Seccomp), landlock, yes(r.NoNewPrivs), yes(r.ParentDeath), limits)
	if len(r.Missing) > 0 {
		line += "; missing: " + strings.Join(r.Missing, "; ")
	}
	return line
}

// Covers returns an error if r enforces less than want does. A node compares
// each child with its start-up probe, so that a sandbox cannot weaken unseen.
func (r Report) Covers(want Report) error {
	switch {
	case want.Seccomp && !r.Seccomp:
		return fmt.Errorf("%w: no seccomp: %s", ErrWeaker, strings.Join(r.Missing, "; "))
	case want.Landlock > r.Landlock:
		return fmt.Errorf("%w: landlock version %d, want %d", ErrWeaker, r.Landlock, want.Landlock)
	case want.NoNewPrivs && !r.NoNewPrivs:
		return fmt.Errorf("%w: privileges can be gained", ErrWeaker)
	}
	for _, name := range want.Rlimits {
		if !slices.Contains(r.Rlimits, name) {
			return fmt.Errorf("%w: rlimit %s is not set", ErrWeaker, name)
		}
	}
	return nil
}

const (
	probeName     = "probe"
	probeKind     = 1
	probeDeadline = 10 * time.Second
)

// Probe starts a throw-away child, lets it try what it must not be able to do,
// and returns what it reports. The binary's main must call [MaybeWorker].
func Probe(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, probeDeadline)
	defer cancel()
	p, err := Start(ctx, Config{
		Worker: probeName,
		Limits: Limits{Memory: 256 << 20, CPU: 10 * time.Second, Frame: 64 << 10},
	})
	if err != nil {
		return Report{}, fmt.Errorf("probe the sandbox: %w", err)
	}
	defer p.Close()
	stop := context.AfterFunc(ctx, func() { p.Kill(context.Cause(ctx)) })
	defer stop()
	report := p.Report()
	if err := p.Put(probeKind); err != nil {
		return Report{}, fmt.Errorf("probe the sandbox: %w", err)
	}
	if err := p.Flush(); err != nil {
		return Report{}, fmt.Errorf("probe the sandbox: %w", err)
	}
	f, err := p.Next()
	if err != nil {
		p.Kill(err)
		return Report{}, fmt.Errorf("probe the sandbox: %w", p.Wait().Err())
	}
	if err := json.Unmarshal(f.Body, &report.Tried); err != nil {
		return Report{}, fmt.Errorf("probe the sandbox: %w", err)
	}
	return report, nil
}

func newReport() Report { return Report{OS: runtime.GOOS + "/" + runtime.GOARCH} }

// probeWorker answers one frame with the outcome of all attempts, as JSON.
func probeWorker() Worker {
	return Worker{Name: probeName, Serve: func(c *Conn) error {
		if _, err := c.Next(); err != nil {
			return err
		}
		if err := c.Seal(); err != nil {
			return err
		}
		var tried []Attempt
		for _, a := range attempts() {
			detail, err := a.try()
			if err != nil {
				detail = err.Error()
			}
			tried = append(tried, Attempt{What: a.what, Denied: err != nil, Detail: detail})
		}
		b, err := json.Marshal(tried)
		if err != nil {
			return err
		}
		if err := c.Put(probeKind, b); err != nil {
			return err
		}
		return c.Flush()
	}}
}
