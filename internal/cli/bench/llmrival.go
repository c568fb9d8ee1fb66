package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
)

// rivalModel is a model's file with llama.cpp's llama-bench to measure it.
type rivalModel struct {
	binary, dir, file string
	name              string
}

func newRival(ctx context.Context, binary string, w *weights.Model) (_ *rivalModel, err error) {
	r := &rivalModel{binary: binary}
	if r.dir, err = os.MkdirTemp("", "atoll-bench-"); err != nil {
		return nil, err
	}
	r.file = filepath.Join(r.dir, "random.gguf")
	f, err := os.Create(r.file)
	if err == nil {
		err = errors.Join(w.Export(ctx, f, quant.Q8_0), f.Close())
	}
	if err != nil {
		return nil, errors.Join(err, r.remove())
	}
	return r, nil
}

func (r *rivalModel) remove() error { return os.RemoveAll(r.dir) }

// rivalTest is what is read of one entry of llama-bench's JSON.
type rivalTest struct {
	Build   string  `json:"build_commit"`
	Number  int     `json:"build_number"`
	Prompt  int     `json:"n_prompt"`
	Drawn   int     `json:"n_gen"`
	AvgRate float64 `json:"avg_ts"`
}

// run measures what modelBench.alone does.
func (r *rivalModel) run(ctx context.Context, threads int) (prefill, decode float64, err error) {
	cmd := exec.CommandContext(ctx, r.binary, "-m", r.file, "-p", strconv.Itoa(promptTokens), "-n", strconv.Itoa(answerTokens),
		"-t", strconv.Itoa(threads), "-r", "1", "-o", "json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %s", r.binary, err, lastLine(stderr.Bytes()))
	}
	if prefill, decode, r.name, err = parseRival(stdout.Bytes()); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", r.binary, err)
	}
	return prefill, decode, nil
}

// parseRival reads what llama-bench prints.
func parseRival(b []byte) (prefill, decode float64, name string, err error) {
	var tests []rivalTest
	if err := json.Unmarshal(b, &tests); err != nil {
		return 0, 0, "", fmt.Errorf("its output is not llama-bench's JSON: %w", err)
	}
	for _, t := range tests {
		switch {
		case t.Prompt == promptTokens && t.Drawn == 0:
			prefill = t.AvgRate
		case t.Prompt == 0 && t.Drawn == answerTokens:
			decode = t.AvgRate
		}
		name = fmt.Sprintf("llama.cpp build %d (%s)", t.Number, t.Build)
	}
	if prefill == 0 || decode == 0 {
		return 0, 0, "", fmt.Errorf("its output lacks the speed of %d tokens read or of %d drawn", promptTokens, answerTokens)
	}
	return prefill, decode, name, nil
}

func lastLine(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
