package control

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/request"
	"atoll/internal/store"
)

// modelRow is what is stored of a model.
type modelRow struct {
	Name         string         `json:"name"`
	Version      int            `json:"version"`
	Engine       string         `json:"engine"`
	Digest       core.Digest    `json:"digest"`
	Size         int64          `json:"size"`
	Owner        core.AccountID `json:"owner"`
	Description  string         `json:"description,omitempty"`
	Reproducible bool           `json:"reproducible"`
	Floats       bool           `json:"floats,omitempty"`
	Upstream     string         `json:"upstream,omitempty"`
	Reference    core.Digest    `json:"reference,omitzero"`
	CreatedMs    int64          `json:"created"`

	shape func(profile string) (*ModelShape, error) // once it was asked for
}

func (m *modelRow) id() string { return modelID(m.Name, m.Version) }

func modelID(name string, version int) string { return name + "@" + strconv.Itoa(version) }

func (m *modelRow) view() api.Model {
	return api.Model{
		ID: m.id(), Object: "model", Created: m.CreatedMs / 1000, OwnedBy: m.Owner, Name: m.Name, Version: m.Version, Engine: m.Engine,
		Digest: m.Digest, Size: m.Size, Description: m.Description, Reproducible: m.Reproducible, Floats: m.Floats,
		Upstream: m.Upstream, Reference: m.Reference,
	}
}

// RegisterModel gives stored bytes a name and its next version. The same bytes
// under the same name are the same version.
func (c *Control) RegisterModel(ctx context.Context, v request.Viewer, up request.ModelUpload) (api.Model, error) {
	if err := core.CheckName("model", up.Name); err != nil {
		return api.Model{}, core.Errorf(core.Invalid, "%w", err).At("name")
	}
	size, err := c.uploaded(ctx, v.Account, up.Digest)
	if err != nil {
		return api.Model{}, at(err, "digest")
	}
	unpin, ok := c.cfg.Blobs.Pin(up.Digest)
	if !ok {
		return api.Model{}, notUploaded(v.Account, up.Digest).At("digest")
	}
	defer unpin()
	facts, err := c.cfg.Models(up.Engine, c.cfg.Blobs.Path(up.Digest))
	if err != nil {
		return api.Model{}, err
	}
	if err := c.checkReference(facts.Reference); err != nil {
		return api.Model{}, err
	}
	var out api.Model
	err = c.job(context.WithoutCancel(ctx), func(b *batch) error { // with the bytes pinned to its end
		version := c.latest[up.Name]
		if had := c.models[up.Name+"@"+strconv.Itoa(version)]; had != nil {
			if had.Owner != v.Account && !v.Admin {
				return taken("model", up.Name, had.Owner)
			}
			if had.Digest == up.Digest && had.Engine == up.Engine {
				out = had.view()
				return nil
			}
		}
		if s := c.services[up.Name]; s != nil && s.Owner != v.Account && !v.Admin {
			return taken("service", up.Name, s.Owner)
		}
		m := &modelRow{Name: up.Name, Version: version + 1, Engine: up.Engine, Digest: up.Digest, Size: size, Owner: v.Account,
			Description: core.Clip(up.Description, 500), Reproducible: facts.Reproducible, Floats: facts.Floats,
			Upstream: facts.Upstream, Reference: facts.Reference, CreatedMs: b.now}
		b.tx.PutModel(m.Name, m.Version, m)
		c.models[m.id()], c.latest[m.Name] = m, m.Version
		out = m.view()
		return nil
	})
	return out, err
}

// checkReference refuses a reference by which nothing could be checked.
func (c *Control) checkReference(d core.Digest) error {
	if d.IsZero() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.models {
		if m.Digest == d && m.Engine == "llm" {
			return nil
		}
	}
	return core.Errorf(core.Invalid, "the reference %s is no registered model of the engine llm", d).At("digest").WithHint("register it first: atoll model import")
}

func (c *Control) loadModels(ctx context.Context) error {
	rows, err := store.Docs[modelRow](ctx, c.store, "models")
	for _, m := range rows {
		c.models[m.id()] = m
		c.latest[m.Name] = max(c.latest[m.Name], m.Version)
	}
	return err
}

// Models lists all versions of all models, and the names under which they are
// served.
func (c *Control) Models(context.Context) ([]api.Model, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]api.Model, 0, len(c.models))
	for _, m := range c.models {
		out = append(out, m.view())
	}
	for _, s := range c.services {
		out = append(out, c.servedView(s))
	}
	slices.SortFunc(out, func(a, b api.Model) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Version-b.Version, strings.Compare(b.ID, a.ID))
	})
	return out, nil
}

// servedView shows a service among the models: as its model, under its own name.
func (c *Control) servedView(s *api.Service) api.Model {
	m := c.models[s.Model].view()
	m.ID, m.OwnedBy, m.Created = s.Name, s.Owner, s.CreatedAt.Unix()
	return m
}

// Model finds a model by the name under which it is served, by name@version, or the
// latest by name.
func (c *Control) Model(_ context.Context, id string) (api.Model, error) {
	c.mu.Lock()
	if s := c.services[id]; s != nil {
		defer c.mu.Unlock()
		return c.servedView(s), nil
	}
	c.mu.Unlock()
	m, err := c.findModel(id)
	if err != nil {
		return api.Model{}, err
	}
	return m.view(), nil
}

func (c *Control) findModel(id string) (*modelRow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.latest[id]; ok {
		id += "@" + strconv.Itoa(v)
	}
	if m := c.models[id]; m != nil {
		return m, nil
	}
	return nil, core.Errorf(core.NotFound, "no model %.80q", id).At("model").WithHint("list models with GET /v1/models")
}

// resolveModel finds what a task's model field means.
func (c *Control) resolveModel(ctx context.Context, t *task, spec *api.TaskSpec) error {
	if m, err := c.findModel(spec.Model); err == nil {
		if spec.Engine != "" && spec.Engine != m.Engine {
			return core.Errorf(core.Invalid, "model %s runs on engine %s, not %s", m.id(), m.Engine, spec.Engine).At("engine")
		}
		t.Model, t.Engine, t.ModelDigest, t.ModelSize, t.OneArch = m.id(), m.Engine, m.Digest, m.Size, m.Floats && spec.Verification.Method != "none"
		t.Upstream = m.Upstream
		if err := c.checkLine(spec, m.id()); err != nil {
			return err
		}
		return c.checkMethod(t, spec, m.Reproducible, m.Reference)
	} else if spec.Engine == "" {
		return err
	}
	d, size, err := c.modelBytes(ctx, t, spec.Model)
	if err != nil {
		return at(err, "model")
	}
	facts, err := c.cfg.Models(spec.Engine, c.cfg.Blobs.Path(d))
	if err != nil {
		return at(err, "model")
	}
	t.Model, t.Engine, t.ModelDigest, t.ModelSize, t.OneArch = d.String(), spec.Engine, d, size, facts.Floats && spec.Verification.Method != "none"
	t.Upstream = facts.Upstream
	return c.checkMethod(t, spec, facts.Reproducible, facts.Reference)
}

// checkLine refuses a task for a line that is of no service, or of another model.
func (c *Control) checkLine(spec *api.TaskSpec, model string) error {
	if spec.Placement == nil || spec.Placement.Line == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.services[spec.Placement.Line]
	switch {
	case s == nil:
		return noService(spec.Placement.Line).At("placement.line")
	case s.Pipeline == "" || s.Model != model:
		return core.Errorf(core.Invalid, "service %s does not have several nodes hold %s", s.Name, model).At("placement.line").WithHint("make one with: atoll serve MODEL --pipeline auto")
	}
	return nil
}

// checkMethod refuses a pair of engine and method that cannot work, and finds the
// reference where one is needed.
func (c *Control) checkMethod(t *task, spec *api.TaskSpec, reproducible bool, reference core.Digest) error {
	m := spec.Verification.Method
	switch {
	case m == "logprobs" && reproducible:
		return core.Errorf(core.Invalid, "engine %s gives the same bytes twice: its answers are compared, not tested", t.Engine).At("verification.method").WithHint("use reexecute")
	case m == "logprobs":
		return c.takeReference(t, spec, reference)
	case m != "none" && !reproducible:
		return core.Errorf(core.Invalid, "engine %s does not give the same bytes twice, so %s over it would find honest nodes wrong", t.Engine, m).
			At("verification.method").WithHint("what goes: none with every model; logprobs with models of providers' own servers that have a reference; quorum and reexecute with models of reproducible engines (text, wasm, llm)")
	}
	if spec.Verification.Span > 0 && c.cfg.Pieces[t.Engine] == nil {
		return core.Errorf(core.Invalid, "work of engine %s cannot be run again in part", t.Engine).At("verification.span").WithHint("leave verification.span out: all of a result that is drawn is run again")
	}
	return nil
}
