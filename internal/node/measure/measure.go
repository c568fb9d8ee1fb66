// Package measure finds out what a machine has to offer: cores and memory as
// far as its control group lets it use them, GPUs, and a short benchmark that
// tells a fast core from a slow one. It reports what it could see and leaves
// out what it could not: a node must not offer what it does not have.
package measure

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"time"

	"atoll/internal/bus"
)

// Machine is the result. Zero memory means that it could not be found out.
type Machine struct {
	CPUMillis int64 // usable cores, thousandths
	Memory    int64 // usable bytes
	GPUs      []bus.GPU
	Arch, OS  string
	// Bench holds rates per second on one core: "sha256_bytes" hashed, and
	// "int_ops" integer operations in a dependent chain; and on all, ModelBytes.
	Bench map[string]int64
}

const (
	toolWait  = 5 * time.Second // for nvidia-smi, which may first load its driver
	benchTime = 30 * time.Millisecond
)

// New measures this machine. It takes about 0.1 s, or some seconds where a GPU's
// tool is slow, and fails only when ctx ends.
func New(ctx context.Context, log *slog.Logger) (*Machine, error) {
	m := &Machine{
		CPUMillis: cpuMillis(os.DirFS("/"), runtime.NumCPU()),
		Memory:    Memory(),
		GPUs:      GPUs(ctx, log),
		Arch:      runtime.GOARCH,
		OS:        runtime.GOOS,
		Bench: map[string]int64{
			"sha256_bytes": hashRate(benchTime),
			"int_ops":      intRate(benchTime),
			ModelBytes:     modelRate(benchTime, log),
		},
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("measure this machine: %w", err)
	}
	return m, nil
}

// cpuMillis bounds the cores by the control group's quota, version 2 or 1.
func cpuMillis(root fs.FS, cores int) int64 {
	millis := int64(cores) * 1000
	quota, period, ok := quotaV2(root)
	if !ok {
		quota, period, ok = quotaV1(root)
	}
	if ok && quota > 0 && period > 0 && quota < period*int64(cores) {
		millis = max(quota*1000/period, 1)
	}
	return millis
}

// Memory returns the bytes that this process may use, 0 if that cannot be found
// out.
func Memory() int64 { return usableMemory(os.DirFS("/"), totalMemory()) }

// usableMemory bounds the machine's memory by the control group's limit.
func usableMemory(root fs.FS, total int64) int64 {
	for _, path := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if limit, ok := readInt(root, path); ok && limit > 0 {
			if total == 0 && limit < 1<<50 { // version 1 says "no limit" by a huge number
				return limit
			}
			return min(limit, total)
		}
	}
	return total
}
