package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/receipt"
	"atoll/internal/store"
)

// maxProblems bounds what an audit lists.
const maxProblems = 100

// Audit checks the whole ledger against its own rules and against the published
// log: it replays every transfer, compares the balances, and looks up for each
// payment the signed verdict that granted it. Run on a hub at rest or at work;
// it reads committed rows only.
func (c *Control) Audit(ctx context.Context) (api.Audit, error) {
	a := auditor{paid: map[core.TransferID]int{}, parts: map[partKey]int{}}
	// Balances first: transfers made in between only add to the replay. Verdicts
	// last: each was published before it was paid.
	var payments []ledger.Transfer
	accounts, err := c.store.Accounts(ctx)
	if err != nil {
		return api.Audit{}, err
	}
	book := ledger.NewBook()
	for t, err := range c.store.Transfers(ctx) {
		if err != nil {
			return api.Audit{}, err
		}
		a.out.Transfers++
		if err := book.Apply(t); err != nil {
			a.problem("replay of %s: %v", t.ID, err)
		}
		if t.Kind == ledger.Post {
			payments = append(payments, t)
		}
	}
	if err := a.readVerdicts(ctx, c.store); err != nil {
		return api.Audit{}, err
	}
	for _, t := range payments {
		a.checkPayment(t)
	}
	a.out.Debits, a.out.Credits = book.Debits, book.Credits
	if err := a.checkReplicas(ctx, c.store); err != nil {
		return api.Audit{}, err
	}
	again, err := c.store.Accounts(ctx)
	if err != nil {
		return api.Audit{}, err
	}
	if slices.Equal(accounts, again) { // nothing moved meanwhile
		a.compare(book, accounts)
	}
	a.out.OK = len(a.out.Problems) == 0
	return a.out, nil
}

type partKey struct {
	task core.TaskID
	part int
}

type granted struct {
	lease core.LeaseID
	pay   int64
	key   partKey
	main  bool // to the lease's own node
}

type auditor struct {
	out      api.Audit
	verdicts map[core.TransferID]granted
	paid     map[core.TransferID]int
	parts    map[partKey]int
}

func (a *auditor) problem(format string, args ...any) {
	if len(a.out.Problems) < maxProblems {
		a.out.Problems = append(a.out.Problems, fmt.Sprintf(format, args...))
	}
}

// readVerdicts collects what the signed verdicts under the newest checkpoint grant.
func (a *auditor) readVerdicts(ctx context.Context, s *store.Store) error {
	a.verdicts = map[core.TransferID]granted{}
	passed := map[core.LeaseID]bool{}
	top, err := s.LastCheckpoint(ctx)
	if errors.Is(err, store.ErrNoRow) {
		return nil
	} else if err != nil {
		return err
	}
	for i := range top.Size {
		_, envelope, err := s.Leaf(ctx, i)
		if err != nil {
			return err
		}
		v, err := receipt.ParseVerdict(envelope)
		if err != nil {
			continue // an execution receipt
		}
		for _, j := range v.Leases {
			if j.Outcome != receipt.Passed {
				continue
			}
			if passed[j.Lease] {
				a.out.DoubleCharged++
				a.problem("%s was passed by two verdicts", j.Lease)
			}
			passed[j.Lease] = true
			key := partKey{j.Task, j.Part}
			a.verdicts[j.Transfer] = granted{j.Lease, j.PayMicro, key, true}
			for _, s := range j.Shares {
				a.verdicts[s.Transfer] = granted{j.Lease, s.PayMicro, key, false}
			}
		}
	}
	return nil
}

func (a *auditor) checkPayment(t ledger.Transfer) {
	if a.paid[t.ID]++; a.paid[t.ID] > 1 {
		a.out.DoubleCharged++
		a.problem("%s was paid twice", t.Lease)
	}
	v, ok := a.verdicts[t.ID]
	switch {
	case !ok:
		a.out.Unverified++
		a.problem("%s was paid %s without a verdict in a published checkpoint", t.Lease, t.Amount)
	case v.lease != t.Lease || core.Money(v.pay) != t.Amount || v.key.task != t.Task:
		a.out.Unverified++
		a.problem("%s was paid otherwise than its verdict says", t.Lease)
	case v.main:
		a.parts[v.key]++
	}
}

// checkReplicas looks for parts that were paid more often than they have replicas.
func (a *auditor) checkReplicas(ctx context.Context, s *store.Store) error {
	replicas := map[core.TaskID]int{}
	for before := core.TaskID(math.MaxInt64); ; {
		rows, err := s.Tasks(ctx, "", "", before, 1000)
		if err != nil {
			return err
		}
		for _, t := range rows {
			replicas[t.ID] = t.Terms.MostPaid()
			before = t.ID
		}
		if len(rows) < 1000 {
			break
		}
	}
	for key, n := range a.parts {
		if n > replicas[key.task] {
			a.out.DoubleCharged++
			a.problem("part %d of %s was paid %d times for %d replicas", key.part, key.task, n, replicas[key.task])
		}
	}
	return nil
}

func (a *auditor) compare(book *ledger.Book, accounts []ledger.Account) {
	if a.out.Debits != a.out.Credits {
		a.problem("debits are %s, credits %s", a.out.Debits, a.out.Credits)
	}
	seen := map[core.AccountID]bool{}
	for _, have := range accounts {
		seen[have.ID] = true
		want := book.Accounts[have.ID]
		if want.Available != have.Available || want.Held != have.Held {
			a.problem("account %s has %s available and %s held; its transfers give %s and %s", have.ID, have.Available, have.Held, want.Available, want.Held)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(book.Accounts)) {
		if !seen[id] {
			a.problem("account %s has transfers but no balance", id)
		}
	}
}
