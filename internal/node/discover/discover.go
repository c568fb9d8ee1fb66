// Package discover finds what a provider could offer beside this machine's cores:
// GPUs, and servers with models that run already. It looks at loopback alone, at the
// ports where they usually listen, and offers nothing by itself.
package discover

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"atoll/internal/bus"
	"atoll/internal/engine/openai"
	"atoll/internal/node/measure"
)

// Server is one that answers GET /v1/models.
type Server struct {
	Name   string // what usually listens there
	URL    string
	Models []string // by their names there; may be none
}

// Found is what there is.
type Found struct {
	GPUs    []bus.GPU
	Servers []Server
}

// usual is where the servers that speak the OpenAI API listen unless told otherwise.
var usual = []Server{
	{Name: "Ollama", URL: "http://127.0.0.1:11434"},
	{Name: "vLLM", URL: "http://127.0.0.1:8000"},
	{Name: "llama.cpp", URL: "http://127.0.0.1:8080"},
	{Name: "LM Studio", URL: "http://127.0.0.1:1234"},
}

// patience is for one server; those that do not run refuse at once.
const patience = 700 * time.Millisecond

// Look asks the drivers and the usual ports.
func Look(ctx context.Context, log *slog.Logger) Found {
	return Found{GPUs: measure.GPUs(ctx, log), Servers: servers(ctx, usual)}
}

// servers returns those of the places that answer, in their order. A port with
// something else behind it is nothing to tell of.
func servers(ctx context.Context, places []Server) (found []Server) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	models := make([][]string, len(places))
	answered := make([]bool, len(places))
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() {
			e, err := openai.New(openai.Config{URL: p.URL})
			if err != nil {
				return
			}
			defer e.Close()
			if models[i], err = e.List(ctx); err == nil {
				answered[i] = true
			}
		})
	}
	wg.Wait()
	for i, p := range places {
		if answered[i] {
			p.Models = models[i]
			found = append(found, p)
		}
	}
	return found
}
