package client

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/durable"
	"atoll/internal/fed"
	"atoll/internal/fed/dataset"
	"atoll/internal/identity"
	"atoll/internal/privacy"
	"atoll/internal/secagg"
)

// seat is the node's place in one federation.
type seat struct {
	c   *Client
	id  core.FederationID
	dir string

	now    sync.Mutex // guards what follows
	at     *fed.At    // what is worked on; nil: nothing
	cancel context.CancelFunc

	mu      sync.Mutex // held by who works
	run     core.Digest
	plan    *fed.Plan
	members []secagg.Member
	self    int
	site    *fed.Site
	ledger  *dataset.Ledger
	round   int
}

func (s *seat) working() *fed.At {
	s.now.Lock()
	defer s.now.Unlock()
	return s.at
}

// begin has who works on an older order leave off, unless what that has come to is of use
// later, too.
func (s *seat) begin(at *fed.At, cancel context.CancelFunc) {
	s.now.Lock()
	defer s.now.Unlock()
	if s.at != nil && !s.at.Step.Lasting() {
		s.cancel()
	}
	s.at, s.cancel = at, cancel
}

// work answers an order.
func (s *seat) work(ctx context.Context, o *fed.Order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		s.now.Lock()
		defer s.now.Unlock()
		if s.at == &o.At {
			s.at, s.cancel = nil, nil
		}
	}()
	if ctx.Err() != nil {
		return // another order has come since
	}
	r, err := s.answer(ctx, o)
	if err != nil {
		s.c.cfg.Log.Warn("an order of a federation is not answered", "federation", s.id, "round", o.Round, "step", o.Step, "error", err)
		return
	}
	if r.Refused != "" && ctx.Err() == nil {
		s.c.cfg.Log.Warn("an order of a federation is refused", "federation", s.id, "round", o.Round, "step", o.Step, "why", r.Refused)
	}
	if ctx.Err() == nil {
		s.c.reply(ctx, s.id, r)
	}
}

// answer returns the reply. Its error is one that the hub is not told: the order comes
// again.
func (s *seat) answer(ctx context.Context, o *fed.Order) (*fed.Reply, error) {
	if err := s.terms(ctx); err != nil {
		return nil, err
	}
	refuse := func(err error) *fed.Reply { return &fed.Reply{At: o.At, Site: s.self, Refused: err.Error()} }
	if o.Run != s.run {
		return refuse(core.Errorf(core.Forbidden, "the order is of another run than this node has agreed to")), nil
	}
	if s.site == nil || o.Round != s.round {
		if err := s.enter(o.Round); err != nil {
			return refuse(err), nil
		}
	}
	return s.site.Handle(ctx, o), nil
}

// terms learns what the federation is, once.
func (s *seat) terms(ctx context.Context) error {
	if s.plan != nil {
		return nil
	}
	path := filepath.Join(s.dir, "terms.json")
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var heard api.SiteRoster
		if heard, err = s.c.cfg.Hub.Terms(ctx, s.id); err != nil {
			return err
		}
		if err := durable.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
		if body, err = json.Marshal(heard); err != nil {
			return err
		}
		err = durable.WriteFile(path, body, durable.Private)
	}
	if err != nil {
		return err
	}
	var terms api.SiteRoster
	if err := json.Unmarshal(body, &terms); err != nil {
		return err
	}
	return s.agree(&terms)
}

// agree works out what terms come to.
func (s *seat) agree(terms *api.SiteRoster) error {
	spec, err := fed.Parse(terms.Spec)
	if err != nil {
		return err
	}
	plan, err := fed.NewPlan(spec, len(terms.Members))
	if err != nil {
		return err
	}
	plan.ID = s.id.String()
	s.members, s.self = nil, -1
	for i, m := range terms.Members {
		key, err := identity.ParsePublicKey(m.Key)
		if err != nil {
			return err
		}
		if m.Name == string(s.c.cfg.Node) {
			s.self = i
		}
		s.members = append(s.members, secagg.Member{Name: m.Name, Key: key})
	}
	if s.self < 0 || s.members[s.self].Key.Digest() != s.c.cfg.Key.Public().Digest() {
		return core.Errorf(core.Forbidden, "the hub has entered this node under another name or key")
	}
	if s.run, err = plan.RunID(s.members); err == nil {
		s.plan = plan
	}
	return err
}

// enter begins a round, if the dataset's owner allows it, still.
func (s *seat) enter(round int) error {
	d, err := s.allowed()
	if err != nil {
		return err
	}
	if err := s.openRound(round); err != nil {
		return err
	}
	if s.site != nil {
		return nil
	}
	if d.Policy.Limit != nil && s.ledger == nil {
		if s.ledger, err = s.c.store.Ledger(d); err != nil {
			return err
		}
	}
	rows, err := d.Load(s.plan)
	if err != nil {
		return err
	}
	cfg := fed.SiteConfig{Plan: s.plan, Members: s.members, Name: string(s.c.cfg.Node), Sign: s.c.cfg.Key.Sign, Rows: rows, Pool: s.c.pool, Journal: s.journal, Rest: restFile(filepath.Join(s.dir, "rest"))}
	if s.ledger != nil {
		cfg.Spend = s.spend
	}
	s.site, err = fed.NewSite(cfg)
	return err
}

func (s *seat) spend(c privacy.Charge) error { return s.ledger.Spend(c) }

// allowed returns the dataset, if its owner lets this federation learn from it.
func (s *seat) allowed() (*dataset.Dataset, error) {
	d, err := s.c.store.Get(s.plan.Spec.Dataset)
	if err == nil {
		err = d.Policy.MayStay(s.c.cfg.Country)
	}
	if err == nil {
		err = d.Policy.Allows(s.plan)
	}
	if err == nil {
		err = d.Policy.Admits(s.members, string(s.c.cfg.Node))
	}
	return d, err
}

// openRound notes, durably, that a round has begun: older ones are over for good.
func (s *seat) openRound(round int) error {
	if err := s.over(); err != nil {
		return err
	}
	path := filepath.Join(s.dir, "round")
	kept := 0
	if b, err := os.ReadFile(path); err == nil {
		if kept, err = strconv.Atoi(string(b)); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if round < kept {
		return core.Errorf(core.Conflict, "round %d has begun here: round %d is over", kept, round)
	}
	if round > kept {
		if err := durable.WriteFile(path, []byte(strconv.Itoa(round)), durable.Private); err != nil {
			return err
		}
	}
	s.round = round
	return s.forget(s.plan.Oldest(round))
}

// over refuses a federation of which the hub has said before that it is over.
func (s *seat) over() error {
	if _, err := os.Stat(filepath.Join(s.dir, "over")); err == nil {
		return core.Errorf(core.Conflict, "the federation is over, as the hub has said before")
	}
	return nil
}

// forget removes the journals of rounds before one.
func (s *seat) forget(oldest int) error {
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		if n, bad := strconv.Atoi(e.Name()); bad == nil && n < oldest {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
		}
	}
	return err
}

// journal is fed.SiteConfig.Journal.
func (s *seat) journal(round int, id core.Digest) (secagg.Journal, error) {
	dir := filepath.Join(s.dir, strconv.Itoa(round), id.Hex())
	return secagg.DirJournal(dir), durable.MkdirAll(dir, 0o700)
}

// restFile is fed.SiteConfig.Rest.
type restFile string

// Kept implements fed.Slot.
func (f restFile) Kept() ([]byte, error) {
	b, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Keep implements fed.Slot.
func (f restFile) Keep(value []byte) error {
	return durable.WriteFile(string(f), value, durable.Private)
}

// end notes that the federation is over, and removes what only it needed.
func (s *seat) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(s.dir); err == nil {
		if err := durable.WriteFile(filepath.Join(s.dir, "over"), nil, durable.Private); err != nil {
			return err
		}
		if err := s.forget(fed.MaxRounds + 2); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(s.dir, "rest")); err != nil {
			return err
		}
	}
	return s.closeLedger()
}

// close gives the ledger back.
func (s *seat) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeLedger()
}

func (s *seat) closeLedger() error {
	if s.ledger == nil {
		return nil
	}
	l := s.ledger
	s.ledger, s.site = nil, nil
	return l.Close()
}
