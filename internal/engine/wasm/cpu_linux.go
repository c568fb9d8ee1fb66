package wasm

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is that of the thread, to which a part is locked: what the collector
// does meanwhile is the node's cost.
func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
