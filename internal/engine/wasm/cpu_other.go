//go:build unix && !linux

package wasm

import (
	"syscall"
	"time"
)

// cpuTime is that of the process, which computes one part at a time.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
