package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// hubNodes is how many nodes the started hub has, each with its own owner: what
// a quorum of three needs.
const hubNodes = 3

// hubProcess is "atoll up" in a process of its own.
type hubProcess struct {
	cmd    *exec.Cmd
	dir    string
	url    string
	key    string
	exited chan error // its end, once
}

func startHub(ctx context.Context, log io.Writer) (_ *hubProcess, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h := &hubProcess{exited: make(chan error, 1)}
	if h.dir, err = os.MkdirTemp("", "atoll-bench-"); err != nil {
		return nil, err
	}
	ready := filepath.Join(h.dir, "ready.json")
	// Not bound to ctx: it is asked to stop, and waited for.
	h.cmd = exec.Command(self, "up", "--dir", filepath.Join(h.dir, "data"), "--listen", "127.0.0.1:0", "--nodes", strconv.Itoa(hubNodes), "--ready-file", ready, "--no-context", "--log-level", "error") //nolint:noctx // see above
	h.cmd.Stderr = log
	if err := h.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(h.dir))
	}
	go func() { h.exited <- h.cmd.Wait() }()
	if err := h.await(ctx, ready); err != nil {
		return nil, errors.Join(err, h.stop())
	}
	return h, nil
}

// await waits for the ready file.
func (h *hubProcess) await(ctx context.Context, path string) error {
	const patience = 60 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the hub did not start within a minute"))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(path)
		if err == nil {
			var r struct {
				URL string `json:"url"`
				Key string `json:"admin_key"`
			}
			if err := json.Unmarshal(data, &r); err != nil {
				return fmt.Errorf("the hub's ready file: %w", err)
			}
			h.url, h.key = r.URL, r.Key
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case err := <-h.exited:
			h.exited <- err
			return fmt.Errorf("the hub ended at once: %w", errors.Join(err, errors.New("see above")))
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (h *hubProcess) pid() int { return h.cmd.Process.Pid }

// stop asks the hub to end, and makes it if it does not.
func (h *hubProcess) stop() error {
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = h.cmd.Process.Kill() // no interrupts on this system
	}
	select {
	case <-h.exited:
	case <-time.After(15 * time.Second):
		_ = h.cmd.Process.Kill() // it may have ended just now
		<-h.exited
	}
	return os.RemoveAll(h.dir)
}
