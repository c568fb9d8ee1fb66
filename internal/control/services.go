package control

import (
	"context"
	"slices"
	"strings"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/request"
	"atoll/internal/store"
)

// maxServices is how many services an account may have: each is a name taken, and a
// row that all lists of models show.
const maxServices = 100

// PutService gives a model a name in the OpenAI API, with terms for the requests
// that go to it, or changes them. The model's version is the one that is meant now.
func (c *Control) PutService(ctx context.Context, v request.Viewer, name string, spec api.ServiceSpec) (api.Service, error) {
	if err := core.CheckName("service", name); err != nil {
		return api.Service{}, core.Errorf(core.Invalid, "%w", err).At("name")
	}
	if err := spec.Validate(); err != nil {
		return api.Service{}, err
	}
	m, err := c.findModel(spec.Model)
	if err != nil {
		return api.Service{}, err
	}
	if m.Engine == "text" {
		return api.Service{}, core.Errorf(core.Invalid, "%s is a classifier, which answers no prompts", m.id()).At("model").WithHint("submit work to it instead: atoll submit --model MODEL --input FILE")
	}
	full := spec.Spec(m.id()).WithDefaults()
	if err := c.checkMethod(&task{Task: lifecycle.Task{Model: m.id(), Engine: m.Engine}}, &full, m.Reproducible, m.Reference); err != nil {
		return api.Service{}, err
	}
	spec.Model = m.id()
	if err := c.checkPlaces(&spec, m.Engine); err != nil {
		return api.Service{}, err
	}
	s := &api.Service{Name: name, Owner: v.Account, ServiceSpec: spec}
	err = c.job(ctx, func(b *batch) error {
		if had := c.services[name]; had != nil && had.Owner != v.Account && !v.Admin {
			return taken("service", name, had.Owner)
		}
		if c.services[name] == nil && !v.Admin && c.servicesOf(v.Account) >= maxServices {
			return core.Errorf(core.Throttled, "account %s has %d services, which is as many as it may have", v.Account, maxServices).WithHint("end one first: atoll serve stop")
		}
		if n := c.latest[name]; n > 0 {
			if m := c.models[modelID(name, n)]; m.Owner != v.Account && !v.Admin {
				return taken("model", name, m.Owner)
			}
		}
		s.CreatedAt = moment(b.now)
		b.tx.PutService(name, s)
		c.services[name] = s
		c.keptMs = 0 // the next sweep has it loaded
		return nil
	})
	return *s, err
}

func (c *Control) servicesOf(a core.AccountID) (n int) {
	for _, s := range c.services {
		if s.Owner == a {
			n++
		}
	}
	return n
}

func taken(what, name string, owner core.AccountID) error {
	return core.Errorf(core.Forbidden, "%s %s belongs to %s", what, name, owner).At("name").WithHint("choose another name")
}

// DeleteService forgets a service. Its model can still be asked for by its own
// name.
func (c *Control) DeleteService(ctx context.Context, v request.Viewer, name string) error {
	return c.job(ctx, func(b *batch) error {
		s := c.services[name]
		switch {
		case s == nil:
			return noService(name)
		case s.Owner != v.Account && !v.Admin:
			return taken("service", name, s.Owner)
		}
		b.tx.DeleteService(name)
		delete(c.services, name)
		return nil
	})
}

func noService(name string) *core.Error {
	return core.Errorf(core.NotFound, "no service %.80q", name).At("name").WithHint("see which there are with: atoll serve status")
}

// Service finds a service. Anybody may use it, and pays for it.
func (c *Control) Service(_ context.Context, name string) (api.Service, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.services[name]; s != nil {
		return c.serviceView(s), nil
	}
	return api.Service{}, noService(name)
}

// serviceView is a service with how its line goes. It is called with mu held.
func (c *Control) serviceView(s *api.Service) api.Service {
	v := *s
	v.Line = c.lineView(s)
	return v
}

// Services lists all services by name.
func (c *Control) Services(context.Context) ([]api.Service, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]api.Service, 0, len(c.services))
	for _, s := range c.services {
		out = append(out, c.serviceView(s))
	}
	slices.SortFunc(out, func(a, b api.Service) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (c *Control) loadServices(ctx context.Context) error {
	rows, err := store.Docs[api.Service](ctx, c.store, "services")
	for _, s := range rows {
		c.services[s.Name] = s
	}
	return err
}
