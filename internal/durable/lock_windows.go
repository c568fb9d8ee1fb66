package durable

import (
	"os"

	"golang.org/x/sys/windows"
)

// errHeld is what lock returns if another has it.
const errHeld = windows.ERROR_LOCK_VIOLATION

// lock is given back by the kernel when the process ends, however it ends. A
// locked byte cannot be read by others, so it is one behind those that say who
// holds the lock.
func lock(f *os.File) error {
	at := windows.Overlapped{Offset: maxHolder}
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
}
