package simtest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // the judge reads the hub's rows by itself

	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
	"atoll/internal/policy"
)

// judge looks at what is left of a run. It trusts the clients' logs and the rows
// on the hub's disk, which it reads by itself once the hub is closed.
func (w *World) judge(ctx context.Context) error {
	if w.hub.c != nil {
		w.hub.watch.checkpoint(ctx, w, w.hub.c)
		w.hub.watch.audit(ctx, w, w.hub.c)
		if err := w.hub.c.Close(); err != nil {
			return err
		}
		w.hub.c = nil
	}
	b, err := readBooks(ctx, w.hub.path())
	if err != nil {
		return err
	}
	w.judgePromises(b)
	w.judgeTasks(b)
	w.judgeMoney(b)
	w.judgeLog(b)
	return nil
}

// books are all rows that the judge looks at.
type books struct {
	tasks      []*taskRows
	byID       map[core.TaskID]*taskRows
	keys       map[string]core.TaskID // account/key to task
	transfers  []ledger.Transfer
	accounts   []ledger.Account
	leaves     []leafRow
	checkpoint store64
	results    map[string][]byte // task/part/digest
}

type store64 struct{ size int64 }

type leafRow struct{ body, envelope []byte }

type taskRows struct {
	lifecycle.Task
	open   bool
	state  string // the column
	parts  []*lifecycle.Part
	events []lifecycle.Event
}

func readBooks(ctx context.Context, path string) (b *books, err error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	b = &books{byID: map[core.TaskID]*taskRows{}, keys: map[string]core.TaskID{}, results: map[string][]byte{}}
	for _, read := range []func(context.Context, *sql.DB) error{
		b.readTasks, b.readParts, b.readEvents, b.readKeys, b.readTransfers, b.readAccounts, b.readLeaves, b.readResults,
	} {
		if err := read(ctx, db); err != nil {
			return nil, fmt.Errorf("judge: %w", err)
		}
	}
	return b, nil
}

// each runs a query and hands every row to fn, which scans it.
func each(ctx context.Context, db *sql.DB, query string, fn func(scan func(...any) error) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
	}
	return rows.Err()
}

func (b *books) readTasks(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT state, open, doc FROM tasks ORDER BY id`, func(scan func(...any) error) error {
		t := new(taskRows)
		var doc []byte
		if err := scan(&t.state, &t.open, &doc); err != nil {
			return err
		}
		b.tasks = append(b.tasks, t)
		err := json.Unmarshal(doc, &t.Task)
		b.byID[t.ID] = t
		return err
	})
}

func (b *books) readParts(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT task, doc FROM parts ORDER BY task, idx`, func(scan func(...any) error) error {
		var id core.TaskID
		var doc []byte
		if err := scan((*int64)(&id), &doc); err != nil {
			return err
		}
		p, t := new(lifecycle.Part), b.byID[id]
		if t == nil {
			return fmt.Errorf("a part of %s, which is not stored", id)
		}
		t.parts = append(t.parts, p)
		return json.Unmarshal(doc, p)
	})
}

func (b *books) readEvents(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT task, doc FROM events ORDER BY task, seq`, func(scan func(...any) error) error {
		var id core.TaskID
		var doc []byte
		var ev []lifecycle.Event
		if err := errors.Join(scan((*int64)(&id), &doc), json.Unmarshal(doc, &ev)); err != nil {
			return err
		}
		if t := b.byID[id]; t != nil {
			t.events = append(t.events, ev...)
		}
		return nil
	})
}

func (b *books) readKeys(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT account, key, task FROM idempotency`, func(scan func(...any) error) error {
		var account, key string
		var id core.TaskID
		if err := scan(&account, &key, (*int64)(&id)); err != nil {
			return err
		}
		b.keys[account+"/"+key] = id
		return nil
	})
}

func (b *books) readTransfers(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT id, at, kind, debit, credit, amount, task, lease FROM transfers ORDER BY id`, func(scan func(...any) error) error {
		var t ledger.Transfer
		err := scan((*int64)(&t.ID), &t.Ms, (*string)(&t.Kind), (*string)(&t.Debit), (*string)(&t.Credit), (*int64)(&t.Amount), (*int64)(&t.Task), (*int64)(&t.Lease))
		b.transfers = append(b.transfers, t)
		return err
	})
}

func (b *books) readAccounts(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT id, available, held FROM accounts ORDER BY id`, func(scan func(...any) error) error {
		var a ledger.Account
		err := scan((*string)(&a.ID), (*int64)(&a.Available), (*int64)(&a.Held))
		b.accounts = append(b.accounts, a)
		return err
	})
}

func (b *books) readLeaves(ctx context.Context, db *sql.DB) error {
	next := int64(0)
	err := each(ctx, db, `SELECT idx, body, envelope FROM leaves ORDER BY idx`, func(scan func(...any) error) error {
		var i int64
		var l leafRow
		if err := scan(&i, &l.body, &l.envelope); err != nil {
			return err
		}
		if i != next {
			return fmt.Errorf("leaf %d follows leaf %d", i, next-1)
		}
		next++
		b.leaves = append(b.leaves, l)
		return nil
	})
	if err != nil {
		return err
	}
	return each(ctx, db, `SELECT COALESCE(MAX(size), 0) FROM checkpoints`, func(scan func(...any) error) error {
		return scan(&b.checkpoint.size)
	})
}

func (b *books) readResults(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT task, idx, digest, data FROM results`, func(scan func(...any) error) error {
		var id core.TaskID
		var idx int
		var digest, data []byte
		if err := scan((*int64)(&id), &idx, &digest, &data); err != nil {
			return err
		}
		b.results[resultKey(id, idx, core.Digest(digest))] = data
		return nil
	})
}

func resultKey(id core.TaskID, part int, d core.Digest) string {
	return fmt.Sprintf("%d/%d/%s", id, part, d)
}

// judgePromises holds the rows against what each client was told.
func (w *World) judgePromises(b *books) {
	known := map[core.TaskID]string{}
	for _, c := range w.clients {
		for _, j := range c.jobs {
			id, stored := b.keys[j.name()]
			if stored {
				if other, twice := known[id]; twice {
					w.violation("%s and %s are one task, %s", other, j.name(), id)
				}
				known[id] = j.name()
			}
			w.judgeJob(b, j, id, stored)
		}
	}
	for _, t := range b.tasks {
		if known[t.ID] == "" {
			w.violation("%s of %s is charged under no key that its client used", t.ID, t.Account)
		}
	}
}

func (w *World) judgeJob(b *books, j *job, id core.TaskID, stored bool) {
	switch {
	case j.task != 0 && (!stored || b.byID[j.task] == nil):
		w.violation("%s was acknowledged as %s and is lost", j.name(), j.task)
		return
	case j.task != 0 && id != j.task:
		w.violation("%s was acknowledged as %s and is stored as %s", j.name(), j.task, id)
		return
	case j.refused != nil && stored:
		w.violation("%s was refused (%v) and is stored as %s all the same", j.name(), j.refused, id)
		return
	case j.task == 0:
		return
	}
	w.result.Tasks++
	t := b.byID[j.task]
	if j.ended != nil && j.ended.State != string(t.State) {
		w.violation("%s: its client saw it %s, it is stored as %s", j.name(), j.ended.State, t.State)
	}
	if len(t.parts) != len(j.parts) {
		w.violation("%s has %d parts, stored are %d", j.name(), len(j.parts), len(t.parts))
		return
	}
	for i, p := range t.parts {
		if p.Index != i || p.Input != core.DigestOf([]byte(j.parts[i])) {
			w.violation("%s: part %d has another input than its client sent", j.name(), i)
		}
		w.judgePart(b, j, t, p)
	}
	if t.State == lifecycle.Succeeded {
		w.result.Succeeded++
		w.judgeResult(b, j, t)
	} else if j.probe {
		w.violation("with all healed, the probe is %s: %s", t.State, t.Reason)
	}
	if t.State == lifecycle.TaskCancelled && !j.cancelled {
		w.violation("%s is cancelled, and nobody asked for that", j.name())
	}
}

// judgeResult compares what the client got with what is stored.
func (w *World) judgeResult(b *books, j *job, t *taskRows) {
	var all []byte
	for _, p := range t.parts {
		if p.State != lifecycle.PartSucceeded {
			w.violation("%s has succeeded, its part %d is %s", t.ID, p.Index, p.State)
		}
		data, ok := b.results[resultKey(t.ID, p.Index, p.Result)]
		if !ok || core.DigestOf(data) != p.Result {
			w.violation("%s part %d: the bytes of its result are not stored", t.ID, p.Index)
		}
		all = append(all, data...)
	}
	if j.ended != nil && !bytes.Equal(all, j.result) {
		w.violation("%s: its client was given another result than is stored", j.name())
	}
}

// judgePart looks at the leases of one part.
func (w *World) judgePart(b *books, j *job, t *taskRows, p *lifecycle.Part) {
	residency, err := policy.Parse(j.spec.Residency)
	if err != nil {
		w.violation("%s: residency: %v", j.name(), err)
	}
	owners := map[core.AccountID]core.LeaseID{}
	passed, liars := 0, map[core.AccountID]bool{}
	for i := range p.Leases {
		l := &p.Leases[i]
		n := w.byID[string(l.Node)]
		if n == nil || n.owner != l.Owner {
			w.violation("%s is held by %s of %s, which is not so", l.ID, l.Node, l.Owner)
			continue
		}
		if !residency.Allows(n.offer.Country) {
			w.violation("%s went to %s in %s, outside %s", l.ID, n.id, n.offer.Country, residency)
		}
		if l.Live() || (l.State == lifecycle.Reported) {
			w.violation("%s of %s is still %s, its part is %s", l.ID, t.ID, l.State, p.State)
		}
		if l.State == lifecycle.Passed || (l.State == lifecycle.Rejected && t.Terms.Replicas > 1) {
			// All of a part's verdicts fall at once, so all of these counted at once.
			if other, twice := owners[l.Owner]; twice && t.Terms.Replicas > 1 {
				w.violation("%s and %s are replicas of one part of %s, and both of %s", other, l.ID, t.ID, l.Owner)
			}
			owners[l.Owner] = l.ID
			if n.faults.Lie > 0 {
				liars[n.owner] = true
			}
		}
		if l.State == lifecycle.Passed {
			if passed++; l.Result != p.Result || p.State != lifecycle.PartSucceeded {
				w.violation("%s has passed with %s, its part is %s with %s", l.ID, l.Result.Short(), p.State, p.Result.Short())
			}
		}
	}
	if passed > t.Terms.Replicas {
		w.violation("%s part %d: %d leases have passed for %d replicas", t.ID, p.Index, passed, t.Terms.Replicas)
	}
	w.judgeTruth(j, t, p, len(liars))
}

// judgeTruth: what a quorum agrees on is true unless enough of its owners lie
// together.
func (w *World) judgeTruth(j *job, t *taskRows, p *lifecycle.Part, liars int) {
	if p.State != lifecycle.PartSucceeded {
		return
	}
	input := []byte(j.parts[p.Index])
	right := p.Result == core.DigestOf(truth(input)) && compute(input).Failure == ""
	could := liars
	if !w.plan.conspire {
		could = min(liars, 1)
	}
	if !right && could < t.Terms.Agree {
		w.violation("%s part %d: a false result, though only %d of its owners lie alike and %d must agree", t.ID, p.Index, could, t.Terms.Agree)
	}
}

// judgeTasks looks at each task by itself: one end, and a full story.
func (w *World) judgeTasks(b *books) {
	for _, t := range b.tasks {
		if !t.Ended() || t.open || t.state != string(t.State) {
			w.violation("%s is %s (%s), open %t: not over", t.ID, t.State, t.state, t.open)
		}
		var ends []string
		final := map[core.LeaseID]string{}
		for i, e := range t.events {
			if e.ID != int64(i)+1 {
				w.violation("%s: event %d has ID %d", t.ID, i+1, e.ID)
			}
			what, state, _ := strings.Cut(e.Type, ".")
			if what == "task" && lifecycle.TaskState(state).Ended() {
				ends = append(ends, state)
			}
			if what == "lease" && slices.Contains([]string{"passed", "rejected", "lost", "refused", "cancelled"}, state) {
				if had := final[e.Lease]; had != "" {
					w.violation("%s is %s and then %s", e.Lease, had, state)
				}
				final[e.Lease] = state
			}
		}
		if len(ends) != 1 || ends[0] != string(t.State) {
			w.violation("%s has the ends %q, and is %s", t.ID, ends, t.State)
		}
		ok, bad := 0, 0
		for _, p := range t.parts {
			switch p.State {
			case lifecycle.PartSucceeded:
				ok++
			case lifecycle.PartFailed:
				bad++
			}
		}
		if ok != t.Succeeded || bad != t.Failed {
			w.violation("%s counts %d parts done and %d failed, its parts say %d and %d", t.ID, t.Succeeded, t.Failed, ok, bad)
		}
	}
}

// judgeMoney replays the ledger and holds each payment against its lease.
func (w *World) judgeMoney(b *books) {
	leases := map[core.LeaseID]*lifecycle.Lease{}
	for _, t := range b.tasks {
		for _, p := range t.parts {
			for i := range p.Leases {
				leases[p.Leases[i].ID] = &p.Leases[i]
			}
		}
	}
	book := ledger.NewBook()
	holds, paid := map[core.TaskID]int{}, map[core.LeaseID]int{}
	for _, x := range b.transfers {
		if err := book.Apply(x); err != nil {
			w.violation("the ledger cannot be replayed: %s: %v", x.ID, err)
		}
		switch x.Kind {
		case ledger.Hold:
			if holds[x.Task]++; holds[x.Task] > 1 || b.byID[x.Task] == nil {
				w.violation("%s: hold %d of %s", x.ID, holds[x.Task], x.Task)
			}
		case ledger.Post:
			w.result.Paid++
			l := leases[x.Lease]
			if paid[x.Lease]++; paid[x.Lease] > 1 {
				w.violation("%s was paid %d times", x.Lease, paid[x.Lease])
			}
			if l == nil || l.State != lifecycle.Passed || l.Pay != x.Amount || l.Owner != x.Credit || l.Transfer != x.ID {
				w.violation("%s pays %s to %s for %s, which has not earned it so", x.ID, x.Amount, x.Credit, x.Lease)
			}
		}
	}
	for id, l := range leases {
		if l.State == lifecycle.Passed && l.Pay > 0 && paid[id] != 1 {
			w.violation("%s has passed and was not paid", id)
		}
	}
	sum := core.Money(0)
	for _, a := range b.accounts {
		sum += a.Available + a.Held
		if have := book.Accounts[a.ID]; have.Available != a.Available || have.Held != a.Held {
			w.violation("%s has %s and %s held; its transfers give %s and %s", a.ID, a.Available, a.Held, have.Available, have.Held)
		}
		if a.Held != 0 || (a.Available < 0 && a.ID != ledger.Issuer) {
			w.violation("%s ends with %s available and %s held", a.ID, a.Available, a.Held)
		}
	}
	if sum != 0 {
		w.violation("all accounts together have %s", sum)
	}
	for _, t := range b.tasks {
		e := book.Escrows[t.ID]
		if e.Amount != t.Terms.MaxCost || e.Left() != 0 || e.Posted != t.Paid || e.Voided != t.Refunded || t.Pending != 0 {
			w.violation("%s: of %s held, %s were paid and %s given back; the task says %s, %s, and %s pending", t.ID, e.Amount, e.Posted, e.Voided, t.Paid, t.Refunded, t.Pending)
		}
	}
}
