package measure

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"atoll/internal/bus"
)

func files(pairs ...string) fs.FS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

func TestControlGroups(t *testing.T) {
	t.Parallel()
	const (
		v2cpu, v2mem   = "sys/fs/cgroup/cpu.max", "sys/fs/cgroup/memory.max"
		quota, period  = "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "sys/fs/cgroup/cpu/cpu.cfs_period_us"
		v1mem, meminfo = "sys/fs/cgroup/memory/memory.limit_in_bytes", "proc/meminfo"
	)
	total := "MemFree: 1 kB\nMemTotal:       16384 kB\n"
	for name, tt := range map[string]struct {
		root        fs.FS
		cpu, memory int64
	}{
		"bare machine":      {files(meminfo, total), 8000, 16 << 20},
		"v2 limits":         {files(meminfo, total, v2cpu, "150000 100000\n", v2mem, "8388608\n"), 1500, 8 << 20},
		"v2 none":           {files(meminfo, total, v2cpu, "max 100000\n", v2mem, "max\n"), 8000, 16 << 20},
		"v2 over all":       {files(meminfo, total, v2cpu, "9900000 100000\n", v2mem, "99999999999\n"), 8000, 16 << 20},
		"v1 limits":         {files(meminfo, total, quota, "50000", period, "100000", v1mem, "4194304"), 500, 4 << 20},
		"v1 none":           {files(meminfo, total, quota, "-1", period, "100000", v1mem, "9223372036854771712"), 8000, 16 << 20},
		"tiny quota":        {files(v2cpu, "1 100000"), 1, 0},
		"garbage":           {files(meminfo, "MemTotal: lots kB", v2cpu, "a b", v2mem, "-3"), 8000, 0},
		"limit, no total":   {files(v2mem, "4194304"), 8000, 4 << 20},
		"v1 none, no total": {files(v1mem, "9223372036854771712"), 8000, 0},
		"too large":         {files(meminfo, "MemTotal: 99999999999999999 kB\n"), 8000, 0},
	} {
		if got := cpuMillis(tt.root, 8); got != tt.cpu {
			t.Errorf("%s: %d CPU millis, want %d", name, got, tt.cpu)
		}
		if got := usableMemory(tt.root, memTotal(tt.root)); got != tt.memory {
			t.Errorf("%s: %d bytes, want %d", name, got, tt.memory)
		}
	}
}

func TestGPUs(t *testing.T) {
	t.Parallel()
	const driver = "proc/driver/nvidia/gpus/0000:01:00.0/information"
	rocm := `{"card1": {"Card Series": "AMD Instinct MI300X", "VRAM Total Memory (B)": "206141652992", "VRAM Total Used Memory (B)": "1"},
		"card0": {"Card series": "Radeon RX 7900 XTX", "VRAM Total Memory (B)": "?"}, "system": {"Driver version": "6"}}`
	for name, tt := range map[string]struct {
		root         fs.FS
		nvidia, rocm string // empty: not installed; !: fails
		want         []bus.GPU
		warns        bool
	}{
		"none":        {root: files()},
		"nvidia":      {files(driver, "Model: \t X\n"), "NVIDIA H100 80GB HBM3, 81559\nNVIDIA H100 80GB HBM3, 81559\n", "", []bus.GPU{{Type: "NVIDIA H100 80GB HBM3", Memory: 81559 << 20}, {Type: "NVIDIA H100 80GB HBM3", Memory: 81559 << 20}}, false},
		"shared":      {files(), "NVIDIA GB10, [N/A]\n", "", []bus.GPU{{Type: "NVIDIA GB10"}}, false},
		"driver only": {files(driver, "Model: \t Tesla T4\nIRQ: 5\n"), "", "", []bus.GPU{{Type: "Tesla T4"}}, false},
		"no device":   {files(), "!", "", nil, true},
		"nonsense":    {files(), "No devices were found\n", "", nil, true},
		"rocm":        {files(), "", rocm, []bus.GPU{{Type: "Radeon RX 7900 XTX"}, {Type: "AMD Instinct MI300X", Memory: 206141652992}}, false},
		"rocm text":   {files(), "", "WARNING: no cards", nil, true},
		"nameless":    {files(), "", `{"card0": {}}`, nil, true},
	} {
		var log strings.Builder
		run := func(_ context.Context, tool string, _ ...string) ([]byte, error) {
			out := map[string]string{"nvidia-smi": tt.nvidia, "rocm-smi": tt.rocm}[tool]
			switch out {
			case "":
				return nil, &exec.Error{Name: tool, Err: exec.ErrNotFound}
			case "!":
				return nil, errors.New("exit status 9")
			}
			return []byte(out), nil
		}
		got := gpus(t.Context(), tt.root, run, slog.New(slog.NewTextHandler(&log, nil)))
		if len(got)+len(tt.want) > 0 && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		if (log.Len() > 0) != tt.warns {
			t.Errorf("%s: log %q", name, log.String())
		}
	}
}

func TestThisMachine(t *testing.T) {
	t.Parallel()
	m, err := New(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if m.CPUMillis <= 0 || m.Memory <= 0 || m.Arch == "" || m.OS == "" || m.Bench["sha256_bytes"] < 1<<20 || m.Bench["int_ops"] < 1<<20 {
		t.Errorf("%+v", m)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ended, slog.New(slog.DiscardHandler)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzTools(f *testing.F) {
	f.Add([]byte("NVIDIA H100 80GB HBM3, 81559\n"))
	f.Add([]byte(`{"card0": {"Card Series": "x", "VRAM Total Memory (B)": "-1"}}`))
	f.Add([]byte("\"a\nb\", 9223372036854775807"))
	f.Fuzz(func(t *testing.T, out []byte) {
		for _, parse := range []func([]byte) ([]bus.GPU, error){parseNvidia, parseROCm} {
			list, err := parse(out)
			for _, g := range list {
				if err != nil || g.Memory < 0 || g.Type == "" || len(g.Type) > maxGPUName || strings.ContainsAny(g.Type, "\n\r\x00") {
					t.Errorf("%+v, %v", g, err)
				}
			}
		}
	})
}
