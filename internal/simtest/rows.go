package simtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the judge reads the hub's rows by itself

	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
)

// books are all rows that the judge looks at.
type books struct {
	tasks     []*taskRows
	byID      map[core.TaskID]*taskRows
	keys      map[string]core.TaskID // account/key to task
	transfers []ledger.Transfer
	accounts  []ledger.Account
	leaves    []leafRow
	published int64             // leaves under the newest checkpoint
	results   map[string][]byte // task/part/digest
}

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
		return scan(&b.published)
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
