package wasm

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is that of the thread. A part does not leave its thread: the child
// has one goroutine, and no other could take it over while the part runs.
func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
