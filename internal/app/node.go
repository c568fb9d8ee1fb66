package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/llm"
	"atoll/internal/engine/openai"
	"atoll/internal/engine/text"
	"atoll/internal/engine/wasm"
	"atoll/internal/node"
	"atoll/internal/node/sandbox"
)

// engineNames are the engines there are.
var engineNames = []string{"llm", openai.Name, "text", "wasm"}

// engines starts the engines that a node offers: those named, or all that need
// nothing but this machine. server is the provider's own, for the engine openai; nil
// if there is none.
func engines(names []string, slots int, server *openai.Config, report sandbox.Report, log *slog.Logger) (out []engine.Engine, err error) {
	if len(names) == 0 {
		names = []string{"llm", "text", "wasm"}
	}
	if server != nil && !slices.Contains(names, openai.Name) {
		names = append(slices.Clone(names), openai.Name)
	}
	for _, name := range names {
		var e engine.Engine
		switch name {
		case openai.Name:
			if server == nil {
				return nil, errors.Join(core.Errorf(core.Invalid, "engine openai needs the address of your own server: --openai http://127.0.0.1:11434"), closeEngines(out))
			}
			own := *server
			own.Log = log
			if e, err = openai.New(own); err != nil {
				return nil, errors.Join(err, closeEngines(out))
			}
		case "text":
			e = text.New()
		case "llm":
			if e, err = llm.New(llm.Config{Threads: slots, Log: log}); err != nil {
				return nil, errors.Join(err, closeEngines(out))
			}
		case "wasm":
			if e, err = wasm.New(wasm.Config{Children: slots, Require: report, Log: log}); err != nil {
				return nil, errors.Join(err, closeEngines(out))
			}
		default:
			return nil, errors.Join(core.Errorf(core.Invalid, "engine %.40q is not known here: engines are %s", name, strings.Join(engineNames, ", ")), closeEngines(out))
		}
		out = append(out, e)
	}
	return out, nil
}

func closeEngines(all []engine.Engine) error {
	var errs []error
	for _, e := range all {
		errs = append(errs, e.Close())
	}
	return errors.Join(errs...)
}

// build is the digest of this executable, for receipts; zero if it cannot be read.
var build = sync.OnceValue(func() (d core.Digest) {
	path, err := os.Executable()
	if err != nil {
		return d
	}
	f, err := os.Open(path)
	if err != nil {
		return d
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return d
	}
	return core.Digest(h.Sum(nil))
})

// drainWithin bounds how long a node that is asked to stop may take to finish
// what runs and to hand in what it has done.
const drainWithin = 20 * time.Second

// runNode runs a node until ctx ends, and then drains it: what runs is
// finished and reported, what waits is handed back at once.
func runNode(ctx context.Context, n *node.Node) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	go func() { done <- n.Run(work) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(work, drainWithin)
	defer cancel()
	drained := n.Drain(limit)
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return drained
}
