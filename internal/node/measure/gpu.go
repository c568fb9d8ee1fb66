package measure

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"

	"atoll/internal/bus"
)

// Limits on what a GPU's tool may say.
const (
	maxGPUs    = 64
	maxGPUName = 80 // bytes
	maxToolOut = 1 << 20
)

// tool runs a program and returns what it prints; exec.ErrNotFound where there
// is none.
type tool func(ctx context.Context, name string, args ...string) ([]byte, error)

func runTool(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, toolWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = toolWait
	return cmd.Output()
}

// GPUs returns this machine's accelerators.
func GPUs(ctx context.Context, log *slog.Logger) []bus.GPU {
	return gpus(ctx, os.DirFS("/"), runTool, log)
}

// gpus asks the vendors' tools, and the NVIDIA driver's own files where its tool
// is not installed; those do not tell the memory.
func gpus(ctx context.Context, root fs.FS, run tool, log *slog.Logger) []bus.GPU {
	var found []bus.GPU
	ask := func(parse func([]byte) ([]bus.GPU, error), name string, args ...string) bool {
		out, err := run(ctx, name, args...)
		if errors.Is(err, exec.ErrNotFound) {
			return false
		}
		var list []bus.GPU
		if err == nil {
			list, err = parse(out)
		}
		if err != nil {
			log.Warn("this machine's GPUs could not be read and are not offered", "tool", name, "error", err)
			return true
		}
		found = append(found, list...)
		return true
	}
	if !ask(parseNvidia, "nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits") {
		found = append(found, driverGPUs(root)...)
	}
	ask(parseROCm, "rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json")
	return found[:min(len(found), maxGPUs)]
}

// parseNvidia reads lines such as "NVIDIA H100 80GB HBM3, 81559", in MiB.
func parseNvidia(out []byte) ([]bus.GPU, error) {
	if len(out) > maxToolOut {
		return nil, fmt.Errorf("%d bytes of output", len(out))
	}
	r := csv.NewReader(strings.NewReader(string(out)))
	r.FieldsPerRecord, r.TrimLeadingSpace, r.LazyQuotes = 2, true, true
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("want lines of name and MiB: %w", err)
	}
	var list []bus.GPU
	for _, row := range rows {
		g := bus.GPU{Type: gpuName(row[0])}
		if g.Type == "" {
			return nil, errors.New("a GPU has no name")
		}
		// "[N/A]" where memory is shared with the CPU: unknown, so not offered.
		if mib, err := strconv.ParseInt(strings.TrimSpace(row[1]), 10, 64); err == nil && mib > 0 && mib < 1<<32 {
			g.Memory = mib << 20
		}
		list = append(list, g)
	}
	return list, nil
}

// parseROCm reads {"card0": {"Card Series": "…", "VRAM Total Memory (B)": "…"}}.
func parseROCm(out []byte) ([]bus.GPU, error) {
	if len(out) > maxToolOut {
		return nil, fmt.Errorf("%d bytes of output", len(out))
	}
	var cards map[string]map[string]string
	if err := json.Unmarshal(out, &cards); err != nil {
		return nil, fmt.Errorf("want an object of cards: %w", err)
	}
	var list []bus.GPU
	for _, id := range slices.Sorted(maps.Keys(cards)) {
		if !strings.HasPrefix(id, "card") {
			continue
		}
		card := cards[id]
		g := bus.GPU{Type: gpuName(card["Card Series"])}
		if g.Type == "" {
			g.Type = gpuName(card["Card series"]) // before ROCm 6
		}
		if g.Type == "" {
			return nil, fmt.Errorf("%.20q has no name", id)
		}
		if n, err := strconv.ParseInt(card["VRAM Total Memory (B)"], 10, 64); err == nil && n > 0 {
			g.Memory = n
		}
		list = append(list, g)
	}
	return list, nil
}

func driverGPUs(root fs.FS) []bus.GPU {
	files, err := fs.Glob(root, "proc/driver/nvidia/gpus/*/information")
	if err != nil {
		return nil
	}
	var list []bus.GPU
	for _, file := range files {
		text, err := readSmall(root, path.Clean(file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			if name, ok := strings.CutPrefix(line, "Model:"); ok && gpuName(name) != "" {
				list = append(list, bus.GPU{Type: gpuName(name)})
			}
		}
	}
	return list
}

// gpuName keeps a name to something that can be shown: one line, trimmed, short.
func gpuName(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '�' }), " ")
	if len(s) > maxGPUName {
		s = strings.ToValidUTF8(s[:maxGPUName], "")
	}
	return s
}
