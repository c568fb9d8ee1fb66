//go:build unix

package app

import (
	"os"

	"golang.org/x/sys/unix"
)

// flock is given back by the kernel when the process ends, however it ends.
func flock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
