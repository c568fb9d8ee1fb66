// Package e2e runs Atoll as its users do: a hub and nodes as processes of their
// own, on real ports, that can be killed. Its tests do so, and whoever measures
// what a dead process costs (NodeLoss).
package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Process is one atoll process that can be killed and started again.
type Process struct {
	Name string
	Args []string

	binary string
	home   string // keeps it away from the user's own files
	out    io.Writer
	cmd    *exec.Cmd // nil while it does not run
}

// Start starts it, over whatever its last life has left.
func (p *Process) Start() error {
	cmd := exec.Command(p.binary, p.Args...) //nolint:noctx // it is killed, not cancelled
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.Env = append(os.Environ(), "HOME="+p.home, "XDG_CONFIG_HOME="+p.home, "XDG_DATA_HOME="+p.home)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd = cmd
	return nil
}

// Kill ends it as a power cut would (SIGKILL: no handler runs), and waits until
// the kernel has buried it. Killing what does not run does nothing.
func (p *Process) Kill() error {
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	_ = p.cmd.Wait() // says only that it was killed
	p.cmd = nil
	if err != nil {
		return fmt.Errorf("kill %s: %w", p.Name, err)
	}
	return nil
}
