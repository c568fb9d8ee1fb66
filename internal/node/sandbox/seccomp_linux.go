package sandbox

import (
	"fmt"
	"os"
	"runtime"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// allowed are the system calls that a running Go program needs when it neither
// opens nor starts anything. All others fail with EPERM: sockets, open, exec,
// ptrace, mount, bpf, io_uring, keys, namespaces, and whatever a later kernel
// adds. EPERM and not a kill, because a Go release that tries a new call must
// find it missing and not die.
//
// Names that an architecture lacks are left out there.
var allowed = []string{
	// Pipes that are open already, and the runtime's poller.
	"read", "write", "close", "epoll_wait", "epoll_pwait", "epoll_ctl",
	// Memory. mmap of a file needs a file to be open.
	"mmap", "munmap", "mprotect", "madvise", "brk",
	// Threads; clone is below.
	"futex", "sched_yield", "sched_getaffinity", "set_robust_list", "rseq", "gettid", "getpid",
	"exit", "exit_group",
	// Time, and the CPU time of a part.
	"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "getrusage",
	// Signals to oneself, by which the runtime preempts; tgkill is below.
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
	"getrandom",
	// A second filter can only take away more; see seal.
	"seccomp",
}

// filterCalls installs the allow-list on all threads.
func filterCalls() error {
	info, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("no table of system calls for this architecture: %w", err)
	}
	known := make([]string, 0, len(allowed))
	for _, name := range allowed {
		if _, ok := info.SyscallNames[name]; ok {
			known = append(known, name)
		}
	}
	return load(seccomp.Policy{
		DefaultAction: seccomp.ActionErrno, // EPERM
		Syscalls: []seccomp.SyscallGroup{
			{Action: seccomp.ActionAllow, Names: known},
			{Action: seccomp.ActionAllow, NamesWithCondtions: []seccomp.NameWithConditions{
				// Threads yes, processes no.
				{Name: "clone", Conditions: seccomp.ArgumentConditions{
					{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
				}},
				{Name: "tgkill", Conditions: seccomp.ArgumentConditions{
					{Argument: 0, Operation: seccomp.Equal, Value: uint64(os.Getpid())},
				}},
			}},
			// The flags of clone3 are behind a pointer, where no filter sees
			// them. "No such call" makes a C library fall back to clone.
			{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
		},
	}, true)
}

// seal forbids new executable memory, on all threads. The filter of filterCalls
// is in force before it.
func seal() error {
	exec := seccomp.ArgumentConditions{{Argument: 2, Operation: seccomp.BitsSet, Value: unix.PROT_EXEC}}
	return load(seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls: []seccomp.SyscallGroup{{
			Action: seccomp.ActionErrno,
			NamesWithCondtions: []seccomp.NameWithConditions{
				{Name: "mmap", Conditions: exec},
				{Name: "mprotect", Conditions: exec},
			},
		}},
	}, false)
}

// load installs a filter. With first it also sets no_new_privs, which the
// kernel asks for, on this thread; TSYNC spreads both to all threads.
func load(p seccomp.Policy, first bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: first, Flag: seccomp.FilterFlagTSync, Policy: p})
}

// systemAttempts are forbidden things that only this system has.
func systemAttempts() []attempt {
	return []attempt{
		{"make memory executable", func() (string, error) {
			b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return "", err
			}
			return "mapped", unix.Munmap(b)
		}},
		{"trace the parent", func() (string, error) {
			return "attached", unix.PtraceSeize(os.Getppid())
		}},
		{"signal the parent", func() (string, error) {
			return "allowed", unix.Kill(os.Getppid(), 0)
		}},
	}
}
