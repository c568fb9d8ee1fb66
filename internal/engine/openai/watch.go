package openai

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/openaiwire"
)

const (
	checkTime  = 3 * time.Second // for one look
	maxListing = 1 << 20         // bytes
	// MaxTrouble bounds what is told of a server's trouble, in bytes.
	MaxTrouble = 200
	// MaxModels is how many models of a server are offered at most.
	MaxModels = 64
)

// Watch implements engine.Host. It looks at GET /v1/models until ctx ends.
func (e *Engine) Watch(ctx context.Context, tell func(engine.Hosted)) {
	ticks := time.NewTicker(e.cfg.Check)
	defer ticks.Stop()
	var last engine.Hosted
	for first := true; ; first = false {
		h := e.look(ctx)
		h.Trouble = core.Clip(h.Trouble, MaxTrouble)
		if ctx.Err() != nil {
			return
		}
		if first || h.Trouble != last.Trouble || !slices.Equal(h.Models, last.Models) {
			if h.Trouble != "" {
				e.cfg.Log.Warn("models of the own server are not offered now", "why", h.Trouble, "offered", len(h.Models))
			} else {
				e.cfg.Log.Info("models of the own server are offered", "models", h.Models)
			}
			tell(h)
			last = h
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// look asks once which of the offered models the server has.
func (e *Engine) look(ctx context.Context) engine.Hosted {
	have, err := e.List(ctx)
	if err != nil {
		return engine.Hosted{Trouble: "OpenAI-compatible server: " + clean(err.Error())}
	}
	var h engine.Hosted
	if len(e.cfg.Models) == 0 {
		h.Models = have
	}
	for _, name := range slices.Sorted(maps.Keys(e.cfg.Models)) {
		own := e.cfg.Models[name]
		if slices.Contains(have, own) {
			h.Models = append(h.Models, name)
		} else {
			h.Trouble = clean(fmt.Sprintf("OpenAI-compatible server: it does not have the model %s", own))
		}
	}
	if len(h.Models) == 0 && h.Trouble == "" {
		h.Trouble = "OpenAI-compatible server: it has no models"
	}
	h.Models = h.Models[:min(len(h.Models), MaxModels)]
	return h
}

// List asks the server for the names of its models. Names that cannot be a model's
// here are left out.
func (e *Engine) List(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	res, err := e.do(ctx, http.MethodGet, "/models", nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, refused(res, e.cfg.Key)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxListing))
	if err != nil {
		return nil, fmt.Errorf("the list of models broke off: %w", err)
	}
	var list struct {
		Object string `json:"object"`
		Data   []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(b, &list); err != nil || list.Data == nil && list.Object != openaiwire.ObjectList {
		return nil, fmt.Errorf("GET /models does not answer with a list (%q), so this is no server of the OpenAI API", openaiwire.ObjectList)
	}
	var names []string
	for _, m := range list.Data {
		if checkName(m.ID) == nil && !slices.Contains(names, m.ID) {
			names = append(names, m.ID)
		}
	}
	slices.Sort(names)
	return names, nil
}
