package store

import (
	"context"
	"encoding/json"

	"atoll/internal/core"
	"atoll/internal/request"
)

// PutFile stores a new file.
func (tx *Tx) PutFile(f *request.File) {
	var digest, expires any
	if !f.Digest.IsZero() {
		digest = f.Digest[:]
	}
	if f.ExpiresMs != 0 {
		expires = f.ExpiresMs
	}
	tx.count(`INSERT INTO files (id, account, digest, expires, doc) VALUES (?,?,?,?,?)`, int64(f.ID), string(f.Account), digest, expires, tx.doc(f))
}

// DeleteFile removes a file, and reports whether it was there.
func (tx *Tx) DeleteFile(id core.FileID) bool {
	return tx.count(`DELETE FROM files WHERE id=?`, int64(id)) > 0
}

// File reads a file, or ErrNoRow.
func (s *Store) File(ctx context.Context, id core.FileID) (*request.File, error) {
	return one(docs[request.File](ctx, s.read, `SELECT doc FROM files WHERE id=?`, int64(id)))
}

// Files reads an account's files that have not expired, after one of them in the
// order that is asked for.
func (s *Store) Files(ctx context.Context, a core.AccountID, q request.FileQuery, nowMs int64) ([]*request.File, error) {
	order, beyond := "DESC", "id<?"
	if q.OldestFirst {
		order, beyond = "ASC", "id>?"
	} else if q.After == 0 {
		q.After = 1<<63 - 1
	}
	text, args := `SELECT doc FROM files WHERE account=? AND (expires IS NULL OR expires>?) AND `+beyond, []any{string(a), nowMs, int64(q.After)}
	if q.Purpose != "" {
		text, args = text+` AND json_extract(CAST(doc AS TEXT), '$.purpose')=?`, append(args, q.Purpose)
	}
	return docs[request.File](ctx, s.read, text+` ORDER BY id `+order+` LIMIT ?`, append(args, q.Limit)...)
}

// Expired reads files whose time is over.
func (s *Store) Expired(ctx context.Context, nowMs int64, limit int) ([]*request.File, error) {
	return docs[request.File](ctx, s.read, `SELECT doc FROM files WHERE expires<=? ORDER BY expires LIMIT ?`, nowMs, limit)
}

// PutBatch stores a batch of requests, which is a task, or its new state.
func (tx *Tx) PutBatch(b *request.Batch) {
	tx.count(`INSERT INTO batches (task, account, doc) VALUES (?,?,?) ON CONFLICT DO UPDATE SET doc=excluded.doc`, int64(b.Task), string(b.Account), tx.doc(b))
}

// FindBatch reads a batch as it stands in this transaction, or ErrNoRow.
func (tx *Tx) FindBatch(id core.TaskID) (*request.Batch, error) {
	var doc []byte
	if err := tx.s.conn.QueryRowContext(context.Background(), `SELECT doc FROM batches WHERE task=?`, int64(id)).Scan(&doc); err != nil {
		return nil, noRow(err)
	}
	b := new(request.Batch)
	return b, json.Unmarshal(doc, b)
}

// Batch reads a batch, or ErrNoRow.
func (s *Store) Batch(ctx context.Context, id core.TaskID) (*request.Batch, error) {
	return one(docs[request.Batch](ctx, s.read, `SELECT doc FROM batches WHERE task=?`, int64(id)))
}

// Batches reads an account's batches, newest first, with IDs under before.
func (s *Store) Batches(ctx context.Context, a core.AccountID, before core.TaskID, limit int) ([]*request.Batch, error) {
	return docs[request.Batch](ctx, s.read, `SELECT doc FROM batches WHERE account=? AND task<? ORDER BY task DESC LIMIT ?`, string(a), int64(before), limit)
}

// one is the only row of a list, or ErrNoRow.
func one[T any](rows []*T, err error) (*T, error) {
	if err == nil && len(rows) == 0 {
		err = ErrNoRow
	}
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}
