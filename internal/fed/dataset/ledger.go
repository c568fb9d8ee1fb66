package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"atoll/internal/durable"
	"atoll/internal/fed"
	"atoll/internal/privacy"
)

// book is a budget file: the budget, and each charge by its ID.
type book struct {
	Budget  privacy.Budget            `json:"budget"`
	Charges map[string]privacy.Charge `json:"charges"`
}

// read returns a dataset's book; nil if nothing was spent yet.
func (s Store) read(name string) (*book, error) {
	path := s.file(name, ".budget.json")
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := new(book)
	if err := json.Unmarshal(body, b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := b.Budget.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// Spent is the ε that federations have had of a dataset, and how many rounds of theirs.
func (s Store) Spent(name string) (epsilon float64, rounds int, err error) {
	b, err := s.read(name)
	if err != nil || b == nil {
		return 0, 0, err
	}
	return b.Budget.Epsilon(), len(b.Charges), nil
}

// Room is for how many more rounds of a federation a dataset's budget has room, at most
// all of its rounds.
func (s Store) Room(d *Dataset, plan *fed.Plan) (int, error) {
	rounds := plan.Spec.Rounds
	if d.Policy.Limit == nil {
		return rounds, nil
	}
	b, err := s.open(d)
	if err != nil {
		return 0, err
	}
	return b.Budget.Room(plan.PerRound.Cost(), rounds), nil
}

// open returns a dataset's book, or a new one.
func (s Store) open(d *Dataset) (b *book, err error) {
	if b, err = s.read(d.Name); err == nil && b == nil {
		b = &book{Charges: map[string]privacy.Charge{}}
		b.Budget, err = privacy.NewBudget(d.Name, *d.Policy.Limit)
	}
	return b, err
}

// Ledger spends a dataset's privacy. Only one process may have it open.
type Ledger struct {
	store  Store
	name   string
	mu     sync.Mutex
	book   *book
	unlock func() error
}

// Ledger opens that of a dataset with a Limit.
func (s Store) Ledger(d *Dataset) (*Ledger, error) {
	if d.Policy.Limit == nil {
		return nil, fmt.Errorf("dataset %s has no limit", d.Name)
	}
	dir := s.file(d.Name, ".ledger")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := durable.Lock(dir, "the ledger of dataset "+d.Name)
	if err != nil {
		return nil, err
	}
	l := &Ledger{store: s, name: d.Name, unlock: unlock}
	if l.book, err = s.open(d); err != nil {
		return nil, errors.Join(err, unlock())
	}
	return l, nil
}

// Close lets others open it.
func (l *Ledger) Close() error { return l.unlock() }

// Spend takes a charge from the budget for good, durably, before anything that it is for
// has been computed. The same charge is taken once. It is what fed.SiteConfig.Spend asks
// for; its error is core.Insufficient if the budget does not allow it.
func (l *Ledger) Spend(c privacy.Charge) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var known *privacy.Charge
	if had, ok := l.book.Charges[c.ID]; ok {
		known = &had
	}
	budget, charge, err := l.book.Budget.Reserve(known, c)
	if err != nil {
		return err
	}
	if budget, charge, err = budget.Spend(charge); err != nil {
		return err
	}
	if known != nil && *known == charge {
		return nil
	}
	next := &book{Budget: budget, Charges: map[string]privacy.Charge{charge.ID: charge}}
	for id, had := range l.book.Charges {
		if id != charge.ID {
			next.Charges[id] = had
		}
	}
	body, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(l.store.file(l.name, ".budget.json"), body, durable.Private); err != nil {
		return err
	}
	l.book = next
	return nil
}
