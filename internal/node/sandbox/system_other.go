//go:build !linux && !windows

package sandbox

import (
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func selfPath() (string, error) { return os.Executable() }

func workDir() string { return "/" }

func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// confine sets the limits that every Unix has. There is no filter for system
// calls that an unprivileged Go program could put on itself here.
func confine(l Limits) Report {
	r := newReport()
	os.Clearenv()
	r.miss("system calls, files and network are not restricted on this system: WebAssembly itself is the wall")
	r.miss("memory is limited by the WebAssembly runtime alone")
	r.miss("a child whose parent dies ends only when it next reads")
	cpu := uint64(math.Ceil(l.CPU.Seconds()))
	for _, lim := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"cpu", unix.RLIMIT_CPU, cpu},
		{"fsize", unix.RLIMIT_FSIZE, 0},
		{"nofile", unix.RLIMIT_NOFILE, 16},
		{"core", unix.RLIMIT_CORE, 0},
	} {
		if err := unix.Setrlimit(lim.resource, &unix.Rlimit{Cur: lim.value, Max: lim.value}); err != nil {
			r.miss("rlimit %s: %v", lim.name, err)
			continue
		}
		r.Rlimits = append(r.Rlimits, lim.name)
	}
	return r
}

func seal() error { return nil }

func systemAttempts() []attempt { return nil }

func processCPU(int) (time.Duration, bool) { return 0, false }
