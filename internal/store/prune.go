package store

import (
	"context"
	"encoding/json"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
)

// Prunable returns tasks that ended by endedMs and still have data, oldest first.
func (s *Store) Prunable(ctx context.Context, endedMs int64, limit int) ([]*lifecycle.Task, error) {
	return docs[lifecycle.Task](ctx, s.read, `SELECT doc FROM tasks WHERE unpruned<=? ORDER BY unpruned LIMIT ?`, endedMs, limit)
}

// FindTask reads a task as it stands in this batch.
func (tx *Tx) FindTask(id core.TaskID) (*lifecycle.Task, error) {
	var doc []byte
	if err := tx.s.conn.QueryRowContext(context.Background(), `SELECT doc FROM tasks WHERE id=?`, int64(id)).Scan(&doc); err != nil {
		return nil, noRow(err)
	}
	t := new(lifecycle.Task)
	return t, json.Unmarshal(doc, t)
}

// PruneTask deletes up to limit rows of an ended task's events and results, and
// then the rest of its data. It reports whether nothing is left to delete, and which
// content the task names no more. What is evidence stays: parts, leases, transfers,
// the log.
func (tx *Tx) PruneTask(t *lifecycle.Task, limit int64) (done bool, unnamed []core.Digest) {
	id := int64(t.ID)
	limit -= tx.count(`DELETE FROM events WHERE task=?1 AND seq IN (SELECT seq FROM events WHERE task=?1 ORDER BY seq LIMIT ?2)`, id, limit)
	limit -= tx.count(`DELETE FROM results WHERE task=?1 AND (idx, digest) IN (SELECT idx, digest FROM results WHERE task=?1 ORDER BY idx, digest LIMIT ?2)`, id, limit)
	unnamed = tx.digests(`DELETE FROM task_blobs WHERE task=?1 AND digest IN (SELECT digest FROM task_blobs WHERE task=?1 ORDER BY digest LIMIT ?2) RETURNING digest`, id, limit)
	if limit -= int64(len(unnamed)); limit <= 0 {
		return false, unnamed
	}
	if t.Key != "" {
		tx.count(`DELETE FROM idempotency WHERE account=? AND key=? AND task=?`, string(t.Account), t.Key, id)
	}
	tx.count(`UPDATE tasks SET input=NULL, unpruned=NULL WHERE id=?`, id)
	return true, unnamed
}

// PruneCallbacks deletes up to limit callbacks made before an ID that are delivered
// or given up, and returns how many there were.
func (tx *Tx) PruneCallbacks(before, limit int64) int64 {
	return tx.count(`DELETE FROM callbacks WHERE id IN (SELECT id FROM callbacks WHERE id<? AND state<>? ORDER BY id LIMIT ?)`, before, CallbackDue, limit)
}

// digests executes a statement that returns digests.
func (tx *Tx) digests(q string, args ...any) (out []core.Digest) {
	if tx.err != nil {
		return nil
	}
	rows, err := tx.s.conn.QueryContext(context.Background(), q, args...)
	if err != nil {
		tx.Fail(err)
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var d []byte
		if err := rows.Scan(&d); err != nil {
			tx.Fail(err)
			return nil
		}
		out = append(out, core.Digest(d))
	}
	if err := rows.Err(); err != nil {
		tx.Fail(err)
	}
	return out
}

// OldUploads returns uploads that were brought and last used before beforeMs,
// oldest first, after another.
func (s *Store) OldUploads(ctx context.Context, beforeMs int64, after Upload, limit int) ([]Upload, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT account, digest, size, at FROM uploads WHERE at<? AND (at, account, digest) > (?,?,?) ORDER BY at, account, digest LIMIT ?`,
		beforeMs, after.Ms, string(after.Account), after.Digest[:], limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Upload
	for rows.Next() {
		var u Upload
		var d []byte
		if err := rows.Scan((*string)(&u.Account), &d, &u.Size, &u.Ms); err != nil {
			return nil, err
		}
		copy(u.Digest[:], d)
		out = append(out, u)
	}
	return out, rows.Err()
}

const sqlReferred = `SELECT EXISTS (SELECT 1 FROM task_blobs WHERE digest=?1) OR EXISTS (SELECT 1 FROM uploads WHERE digest=?1) OR EXISTS (SELECT 1 FROM files WHERE digest=?1) OR EXISTS (SELECT 1 FROM federation_blobs WHERE digest=?1)`

// Referred reports whether a task, an upload, a file or a federation needs content, as is committed.
func (s *Store) Referred(ctx context.Context, d core.Digest) (yes bool, err error) {
	return yes, s.read.QueryRowContext(ctx, sqlReferred, d[:]).Scan(&yes)
}

// Referred is Store.Referred as it stands in this batch.
func (tx *Tx) Referred(d core.Digest) (yes bool, err error) {
	return yes, tx.s.conn.QueryRowContext(context.Background(), sqlReferred, d[:]).Scan(&yes)
}
