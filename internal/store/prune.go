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
// then the rest of its data. It reports whether nothing is left to delete. What
// is evidence stays: parts, leases, transfers, the log.
func (tx *Tx) PruneTask(t *lifecycle.Task, limit int64) (done bool) {
	id := int64(t.ID)
	limit -= tx.count(`DELETE FROM events WHERE task=?1 AND seq IN (SELECT seq FROM events WHERE task=?1 ORDER BY seq LIMIT ?2)`, id, limit)
	limit -= tx.count(`DELETE FROM results WHERE task=?1 AND (idx, digest) IN (SELECT idx, digest FROM results WHERE task=?1 ORDER BY idx, digest LIMIT ?2)`, id, limit)
	limit -= tx.count(`DELETE FROM task_blobs WHERE task=?1 AND digest IN (SELECT digest FROM task_blobs WHERE task=?1 ORDER BY digest LIMIT ?2)`, id, limit)
	if limit <= 0 {
		return false
	}
	if t.Key != "" {
		tx.count(`DELETE FROM idempotency WHERE account=? AND key=? AND task=?`, string(t.Account), t.Key, id)
	}
	tx.count(`UPDATE tasks SET input=NULL, unpruned=NULL WHERE id=?`, id)
	return true
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

const sqlReferred = `SELECT EXISTS (SELECT 1 FROM task_blobs WHERE digest=?1) OR EXISTS (SELECT 1 FROM uploads WHERE digest=?1) OR EXISTS (SELECT 1 FROM files WHERE digest=?1)`

// Referred reports whether a task, an upload or a file needs content, as is committed.
func (s *Store) Referred(ctx context.Context, d core.Digest) (yes bool, err error) {
	return yes, s.read.QueryRowContext(ctx, sqlReferred, d[:]).Scan(&yes)
}

// Referred is Store.Referred as it stands in this batch.
func (tx *Tx) Referred(d core.Digest) (yes bool, err error) {
	return yes, tx.s.conn.QueryRowContext(context.Background(), sqlReferred, d[:]).Scan(&yes)
}
