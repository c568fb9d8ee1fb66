package sandbox

import (
	"os"
	"syscall"
	"time"
)

func selfPath() (string, error) { return os.Executable() }

func workDir() string { return "" }

func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{HideWindow: true, CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// confine gives up nothing but the environment: what remains is the process of
// its own, killed at its deadline, and the limits of the WebAssembly runtime.
func confine(Limits) Report {
	r := newReport()
	os.Clearenv()
	r.miss("system calls, files and network are not restricted on this system: WebAssembly itself is the wall")
	r.miss("memory is limited by the WebAssembly runtime alone, CPU time not at all: the deadline kills")
	r.miss("a child whose parent dies ends only when it next reads")
	return r
}

func seal() error { return nil }

func systemAttempts() []attempt { return nil }

func processCPU(int) (time.Duration, bool) { return 0, false }
