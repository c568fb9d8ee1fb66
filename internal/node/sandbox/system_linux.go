package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// maxFiles is three pipes, what the Go runtime opens for its poller, and room.
const maxFiles = 16

// selfPath is a name that stays true when the binary on disk is replaced by an
// upgrade while the node runs: parent and child must speak the same protocol.
func selfPath() (string, error) { return "/proc/self/exe", nil }

func workDir() string { return "/" }

func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setpgid:   true,            // the terminal's Ctrl-C is for the node, which then stops its children
		Pdeathsig: syscall.SIGKILL, // no orphan goes on computing
	}
}

// confine gives up the child's rights. What fails is reported, not fatal: the
// parent decides with Report.Covers whether the child is good enough.
func confine(l Limits) Report {
	r := newReport()
	os.Clearenv()
	if err := closeStrayFiles(); err != nil {
		r.miss("inherited files stay open: %v", err)
	}
	setRlimits(&r, l)
	// Not dumpable: another process of the same user can neither attach to the
	// child nor read its memory, and no core is left behind.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		r.miss("dumpable: %v", err)
	}
	r.ParentDeath = true // Start fails if the kernel refuses Pdeathsig
	_, r.CPUClock = processCPU(os.Getpid())
	restrictFiles(&r)
	if err := filterCalls(); err != nil {
		r.miss("seccomp: %v", err)
	} else {
		r.Seccomp, r.NoNewPrivs = true, true
	}
	return r
}

func setRlimits(r *Report, l Limits) {
	mapped, err := mappedBytes()
	if err != nil {
		r.miss("rlimit as: %v", err)
	}
	cpu := uint64(math.Ceil(l.CPU.Seconds()))
	for _, lim := range []struct {
		name     string
		resource int
		value    uint64
		skip     bool
	}{
		// The Go runtime maps much more than it uses, so that an absolute
		// value would mean nothing.
		{"as", unix.RLIMIT_AS, mapped + uint64(l.Memory), err != nil},
		{"cpu", unix.RLIMIT_CPU, cpu, false},
		{"fsize", unix.RLIMIT_FSIZE, 0, false},
		{"nofile", unix.RLIMIT_NOFILE, maxFiles, false},
		{"core", unix.RLIMIT_CORE, 0, false},
		{"memlock", unix.RLIMIT_MEMLOCK, 0, false},
		// No nproc: it counts all threads of the user on the machine, so that
		// any useful value would fail on a busy one. Seccomp lets the child
		// make threads but no processes.
	} {
		if lim.skip {
			continue
		}
		if err := unix.Setrlimit(lim.resource, &unix.Rlimit{Cur: lim.value, Max: lim.value}); err != nil {
			r.miss("rlimit %s: %v", lim.name, err)
			continue
		}
		r.Rlimits = append(r.Rlimits, lim.name)
	}
}

// mappedBytes returns the size of the process's address space.
func mappedBytes() (uint64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	pages, _, _ := bytes.Cut(b, []byte(" "))
	n, err := strconv.ParseUint(string(pages), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("statm: %w", err)
	}
	return n * uint64(os.Getpagesize()), nil
}

// closeStrayFiles closes descriptors that whoever started the node left open
// across exec. Those of the Go runtime's poller are its own.
func closeStrayFiles() error {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd <= 2 || fd == int(dir.Fd()) {
			continue
		}
		target, err := os.Readlink("/proc/self/fd/" + name)
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") {
			continue
		}
		if err := unix.Close(fd); err != nil && !errors.Is(err, unix.EBADF) {
			return err
		}
	}
	return nil
}

// restrictFiles takes away all of the file system, plain TCP ports, and abstract
// Unix sockets and signals to processes outside, as far as the kernel's Landlock
// knows how to. It is a second wall for files behind the seccomp filter. It is
// none for the network: multipath TCP, which Go prefers, passes Landlock.
func restrictFiles(r *Report) {
	version, err := landlocksys.LandlockGetABIVersion()
	if err != nil || version < 1 {
		r.miss("landlock: not in this kernel, or not enabled at boot")
		return
	}
	if err := landlock.V8.BestEffort().Restrict(); err != nil {
		r.miss("landlock: %v", err)
		return
	}
	r.Landlock, r.NoNewPrivs = version, true
}

// processCPU reads the CPU-time clock of another process: the kernel names it
// by the inverted process ID, see clock_getcpuclockid(3).
func processCPU(pid int) (time.Duration, bool) {
	const schedClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|schedClock, &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}
