package app

import (
	"os"

	"golang.org/x/sys/windows"
)

// flock is given back by the kernel when the process ends, however it ends.
func flock(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
}
