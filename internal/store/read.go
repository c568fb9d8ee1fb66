package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
)

// ErrNoRow is returned when what is asked for is not stored.
var ErrNoRow = errors.New("store: no such row")

// Task reads a task and its specification.
func (s *Store) Task(ctx context.Context, id core.TaskID) (*lifecycle.Task, []byte, error) {
	var doc, spec []byte
	err := s.read.QueryRowContext(ctx, `SELECT doc, spec FROM tasks WHERE id=?`, int64(id)).Scan(&doc, &spec)
	if err != nil {
		return nil, nil, noRow(err)
	}
	t := new(lifecycle.Task)
	return t, spec, json.Unmarshal(doc, t)
}

// TaskInput reads a task's joined input, nil if the blob store has it.
func (s *Store) TaskInput(ctx context.Context, id core.TaskID) (input []byte, err error) {
	return input, noRow(s.read.QueryRowContext(ctx, `SELECT input FROM tasks WHERE id=?`, int64(id)).Scan(&input))
}

// Tasks reads tasks, newest first, with IDs under before; account and state
// may be empty for all.
func (s *Store) Tasks(ctx context.Context, a core.AccountID, state string, before core.TaskID, limit int) ([]*lifecycle.Task, error) {
	q, args := `SELECT doc FROM tasks WHERE id < ?`, []any{int64(before)}
	if a != "" {
		q, args = q+` AND account = ?`, append(args, string(a))
	}
	if state != "" {
		q, args = q+` AND state = ?`, append(args, state)
	}
	return docs[lifecycle.Task](ctx, s.read, q+` ORDER BY id DESC LIMIT ?`, append(args, limit)...)
}

// OpenTasks reads all tasks that have not ended or are not settled.
func (s *Store) OpenTasks(ctx context.Context) ([]*lifecycle.Task, error) {
	return docs[lifecycle.Task](ctx, s.read, `SELECT doc FROM tasks WHERE open = 1 ORDER BY id`)
}

// Parts reads parts with indexes from first on.
func (s *Store) Parts(ctx context.Context, id core.TaskID, first, limit int) ([]*lifecycle.Part, error) {
	return docs[lifecycle.Part](ctx, s.read, `SELECT doc FROM parts WHERE task=? AND idx>=? ORDER BY idx LIMIT ?`, int64(id), first, limit)
}

// FindLease returns the task and part of a lease that has reported.
func (s *Store) FindLease(ctx context.Context, id core.LeaseID) (task core.TaskID, part int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT task, part FROM reported WHERE lease=?`, int64(id)).Scan((*int64)(&task), &part)
	return task, part, noRow(err)
}

// Result reads a result's bytes; nil bytes without error mean that the blob
// store has them.
func (s *Store) Result(ctx context.Context, id core.TaskID, part int, d core.Digest) (data []byte, err error) {
	return data, noRow(s.read.QueryRowContext(ctx, `SELECT data FROM results WHERE task=? AND idx=? AND digest=?`, int64(id), part, d[:]).Scan(&data))
}

// Events reads a task's events with IDs over after, about limit of them.
func (s *Store) Events(ctx context.Context, id core.TaskID, after int64, limit int) ([]lifecycle.Event, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT doc FROM events WHERE task=?1 AND seq >= COALESCE((SELECT MAX(seq) FROM events WHERE task=?1 AND seq<=?2), 0) ORDER BY seq`, int64(id), after+1)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []lifecycle.Event
	for rows.Next() && len(out) < limit {
		var doc []byte
		var ev []lifecycle.Event
		if err := errors.Join(rows.Scan(&doc), json.Unmarshal(doc, &ev)); err != nil {
			return nil, err
		}
		for _, e := range ev {
			if e.ID > after {
				out = append(out, e)
			}
		}
	}
	return out, rows.Err()
}

// Accounts reads all balances.
func (s *Store) Accounts(ctx context.Context) ([]ledger.Account, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, available, held, created FROM accounts ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []ledger.Account
	for rows.Next() {
		var a ledger.Account
		if err := rows.Scan((*string)(&a.ID), (*int64)(&a.Available), (*int64)(&a.Held), &a.CreatedMs); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, rows.Err()
}

const transferColumns = `id, at, kind, debit, credit, amount, task, lease, memo`

// Statement reads an account's transfers, newest first, with IDs under before.
func (s *Store) Statement(ctx context.Context, a core.AccountID, before core.TransferID, limit int) ([]ledger.Transfer, error) {
	return collect(s.transfers(ctx, `SELECT * FROM (SELECT * FROM (SELECT `+transferColumns+` FROM transfers WHERE debit=?1 AND id<?2 ORDER BY id DESC LIMIT ?3)
		UNION SELECT * FROM (SELECT `+transferColumns+` FROM transfers WHERE credit=?1 AND credit<>debit AND id<?2 ORDER BY id DESC LIMIT ?3)) ORDER BY id DESC LIMIT ?3`, string(a), int64(before), limit))
}

// Transfers reads the whole ledger in the order in which IDs were made.
func (s *Store) Transfers(ctx context.Context) iter.Seq2[ledger.Transfer, error] {
	return s.transfers(ctx, `SELECT `+transferColumns+` FROM transfers ORDER BY rowid`)
}

// HasTransfer reports whether a transfer was made.
func (s *Store) HasTransfer(ctx context.Context, id core.TransferID) (bool, error) {
	var n int
	err := s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM transfers WHERE id=?`, int64(id)).Scan(&n)
	return n > 0, err
}

func (s *Store) transfers(ctx context.Context, q string, args ...any) iter.Seq2[ledger.Transfer, error] {
	return func(yield func(ledger.Transfer, error) bool) {
		rows, err := s.read.QueryContext(ctx, q, args...)
		if err != nil {
			yield(ledger.Transfer{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var t ledger.Transfer
			err := rows.Scan((*int64)(&t.ID), &t.Ms, (*string)(&t.Kind), (*string)(&t.Debit), (*string)(&t.Credit), (*int64)(&t.Amount), (*int64)(&t.Task), (*int64)(&t.Lease), &t.Memo)
			if !yield(t, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(ledger.Transfer{}, err)
		}
	}
}

// Leaf reads a log entry.
func (s *Store) Leaf(ctx context.Context, i int64) (body, envelope []byte, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT body, envelope FROM leaves WHERE idx=?`, i).Scan(&body, &envelope)
	return body, envelope, noRow(err)
}

// LeafBodies reads the bodies of leaves first ≤ index < end, in order, and
// fails if one is missing.
func (s *Store) LeafBodies(ctx context.Context, first, end int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		rows, err := s.read.QueryContext(ctx, `SELECT idx, body FROM leaves WHERE idx>=? AND idx<? ORDER BY idx`, first, end)
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close()
		next := first
		for ; rows.Next(); next++ {
			var i int64
			var body []byte
			err := rows.Scan(&i, &body)
			if err == nil && i != next {
				err = fmt.Errorf("store: log leaf %d is missing", next)
			}
			if !yield(body, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		} else if next != end {
			yield(nil, fmt.Errorf("store: log leaf %d is missing", next))
		}
	}
}

// LeafCount returns the number of committed leaves.
func (s *Store) LeafCount(ctx context.Context) (n int64, err error) {
	return n, s.read.QueryRowContext(ctx, `SELECT COALESCE(MAX(idx)+1, 0) FROM leaves`).Scan(&n)
}

// LastCheckpoint reads the newest checkpoint, or ErrNoRow.
func (s *Store) LastCheckpoint(ctx context.Context) (c Checkpoint, err error) {
	var root []byte
	err = s.read.QueryRowContext(ctx, `SELECT size, epoch, root, note, at FROM checkpoints ORDER BY size DESC LIMIT 1`).Scan(&c.Size, &c.Epoch, &root, &c.Note, &c.Ms)
	copy(c.Root[:], root)
	return c, noRow(err)
}

// sqlDueCallbacks finds the accounts by skipping from one to the next in the
// index, so that a backlog of one account costs nobody else anything.
const sqlDueCallbacks = `
WITH RECURSIVE owners (account) AS (
	SELECT MIN(account) FROM callbacks WHERE state='due'
	UNION ALL
	SELECT (SELECT MIN(account) FROM callbacks WHERE state='due' AND account > owners.account) FROM owners WHERE owners.account IS NOT NULL
), turns AS (
	SELECT c.id, ROW_NUMBER() OVER (PARTITION BY c.account ORDER BY c.due, c.id) AS turn
	FROM owners JOIN callbacks c ON c.id IN (SELECT id FROM callbacks WHERE state='due' AND account=owners.account AND due<=?1 ORDER BY due, id LIMIT ?2)
)
SELECT id, task, account, due, attempts, state, doc FROM turns JOIN callbacks USING (id) ORDER BY turn, due, id LIMIT ?2`

// Callbacks reads callbacks that are due by nowMs: the oldest of each account,
// then the second of each, and so on.
func (s *Store) Callbacks(ctx context.Context, nowMs int64, limit int) ([]Callback, error) {
	rows, err := s.read.QueryContext(ctx, sqlDueCallbacks, nowMs, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Callback
	for rows.Next() {
		c, err := scanCallback(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

// Callback reads one callback.
func (s *Store) Callback(ctx context.Context, id int64) (Callback, error) {
	c, err := scanCallback(s.read.QueryRowContext(ctx, `SELECT id, task, account, due, attempts, state, doc FROM callbacks WHERE id=?`, id))
	return c, noRow(err)
}

func scanCallback(row interface{ Scan(...any) error }) (c Callback, err error) {
	return c, row.Scan(&c.ID, (*int64)(&c.Task), (*string)(&c.Account), &c.DueMs, &c.Attempts, &c.State, &c.Doc)
}

// Idempotency returns the task and body digest of a key seen before, or ErrNoRow.
func (s *Store) Idempotency(ctx context.Context, a core.AccountID, key string) (id core.TaskID, body core.Digest, err error) {
	var b []byte
	err = s.read.QueryRowContext(ctx, sqlFindIdempotency, string(a), key).Scan((*int64)(&id), &b)
	copy(body[:], b)
	return id, body, noRow(err)
}

// Uploaded returns the size of bytes that an account has brought itself, or
// ErrNoRow.
func (s *Store) Uploaded(ctx context.Context, a core.AccountID, d core.Digest) (size int64, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT size FROM uploads WHERE account=? AND digest=?`, string(a), d[:]).Scan(&size)
	return size, noRow(err)
}

// UploadedBytes returns how much an account has brought in all.
func (s *Store) UploadedBytes(ctx context.Context, a core.AccountID) (n int64, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT COALESCE(SUM(size), 0) FROM uploads WHERE account=?`, string(a)).Scan(&n)
	return n, err
}

// Docs reads all documents of nodes, keys, tokens or models.
func Docs[T any](ctx context.Context, s *Store, table string) ([]*T, error) {
	switch table {
	case "nodes", "keys", "tokens", "models", "services":
		return docs[T](ctx, s.read, `SELECT doc FROM `+table)
	}
	return nil, fmt.Errorf("store: no documents in %q", table)
}

// Key reads an API key by its hash, or ErrNoRow.
func (s *Store) Key(ctx context.Context, hash core.Digest, into any) error {
	var doc []byte
	if err := s.read.QueryRowContext(ctx, `SELECT doc FROM keys WHERE hash=?`, hash[:]).Scan(&doc); err != nil {
		return noRow(err)
	}
	return json.Unmarshal(doc, into)
}

// Meta reads a single value, or ErrNoRow.
func (s *Store) Meta(ctx context.Context, k string) (v []byte, err error) {
	return v, noRow(s.read.QueryRowContext(ctx, `SELECT v FROM meta WHERE k=?`, k).Scan(&v))
}

// MaxID returns the greatest time-ordered ID in use, so that a restarted hub
// goes on above it.
func (s *Store) MaxID(ctx context.Context) (id int64, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT MAX(COALESCE((SELECT MAX(id) FROM tasks), 0), COALESCE((SELECT MAX(id) FROM transfers), 0), COALESCE((SELECT MAX(id) FROM callbacks), 0), COALESCE((SELECT MAX(id) FROM files), 0), COALESCE((SELECT MAX(id) FROM federations), 0))`).Scan(&id)
	return id, err
}

func docs[T any](ctx context.Context, db *sql.DB, q string, args ...any) ([]*T, error) {
	rows, err := db.QueryContext(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*T
	for rows.Next() {
		var doc []byte
		v := new(T)
		if err := rows.Scan(&doc); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(doc, v); err != nil {
			return nil, fmt.Errorf("store: damaged document: %w", err)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var out []T
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func noRow(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoRow
	}
	return err
}
