//go:build unix

package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// errHeld is what lock returns if another has it.
const errHeld = unix.EWOULDBLOCK

// lock is given back by the kernel when the process ends, however it ends.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
