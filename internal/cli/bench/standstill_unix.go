//go:build unix

package bench

import (
	"os"
	"syscall"
)

// standstill has a process stand still without ending.
var standstill os.Signal = syscall.SIGSTOP
