package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"
)

// Arg is the hidden verb that makes the binary a worker.
const Arg = "sandbox-worker"

// Worker is what a child does.
type Worker struct {
	Name string
	// Serve reads frames and answers them until its input ends. It runs after
	// the child has given up its rights: no files, no network.
	Serve func(c *Conn) error
}

// Conn is a worker's end of the pipes.
type Conn struct {
	*Reader
	*Writer
	report Report
}

// Seal gives up, for good, the right to make memory executable. A worker calls
// it when it has compiled what it will run. Without seccomp it does nothing; the
// report says whether there is any.
func (c *Conn) Seal() error {
	if !c.report.Seccomp {
		return nil
	}
	return seal()
}

// Limits bound a child for as long as it lives. They are the kernel's backstop
// behind the finer limits that the parent keeps with a timer.
type Limits struct {
	// Memory is the address space that the child may take on top of what the
	// binary has when it starts, in bytes.
	Memory int64 `json:"memory"`
	// CPU is the processor time of the whole life, all threads, rounded up to
	// seconds.
	CPU time.Duration `json:"cpu"`
	// Frame is the longest body of a frame, in bytes, in both directions.
	Frame int `json:"frame"`
}

func (l Limits) check() error {
	switch {
	case l.Memory < 64<<20:
		return fmt.Errorf("memory limit of %d bytes: a child needs at least 64 MiB", l.Memory)
	case l.CPU <= 0:
		return fmt.Errorf("CPU limit of %s: want more than 0", l.CPU)
	case l.Frame <= 0 || int64(l.Frame) > math.MaxInt32:
		return fmt.Errorf("frame limit of %d bytes: want 1 to %d", l.Frame, math.MaxInt32)
	}
	return nil
}

// MaybeWorker returns at once in an ordinary process. In a child started by
// [Start] it serves as the worker that was asked for and exits. It must be the
// first call of main, and of TestMain where a test starts children.
func MaybeWorker(workers ...Worker) {
	if len(os.Args) < 2 || os.Args[1] != Arg {
		return
	}
	if err := serve(os.Args[2:], append(workers, probeWorker())); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(args []string, workers []Worker) error {
	if len(args) != 2 {
		return fmt.Errorf("%s is how atoll starts its own children; it is not a verb for people", Arg)
	}
	var limits Limits
	if err := json.Unmarshal([]byte(args[1]), &limits); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	if err := limits.check(); err != nil {
		return err
	}
	for _, w := range workers {
		if w.Name != args[0] {
			continue
		}
		report := confine(limits)
		hello, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
		c := &Conn{NewReader(os.Stdin, limits.Frame), NewWriter(os.Stdout, limits.Frame), report}
		if err := c.Put(kindHello, hello); err != nil {
			return err
		}
		if err := c.Flush(); err != nil {
			return err
		}
		if err := w.Serve(c); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	}
	return fmt.Errorf("no worker is named %.40q", args[0])
}
