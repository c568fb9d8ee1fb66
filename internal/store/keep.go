package store

import (
	"context"

	"atoll/internal/core"
)

// Upload is content that an account has brought itself.
type Upload struct {
	Account core.AccountID
	Digest  core.Digest
	Size    int64 // bytes
	Ms      int64 // when it was brought or last used
}

// PutUpload remembers that an account has brought or used bytes of its own, and
// reports whether they are new.
func (tx *Tx) PutUpload(a core.AccountID, d core.Digest, size int64) (isNew bool) {
	n := tx.count(`UPDATE uploads SET at=? WHERE account=? AND digest=?`, tx.Now.UnixMilli(), string(a), d[:])
	if n == 0 {
		tx.exec(sqlPutUpload, string(a), d[:], size, tx.Now.UnixMilli())
	}
	return n == 0
}

// DeleteUpload forgets an upload that was not used since, and reports whether it
// was there.
func (tx *Tx) DeleteUpload(u Upload) bool {
	return tx.count(`DELETE FROM uploads WHERE account=? AND digest=? AND at<=?`, string(u.Account), u.Digest[:], u.Ms) > 0
}

// PutTaskBlob keeps content for as long as the task's data are kept.
func (tx *Tx) PutTaskBlob(id core.TaskID, d core.Digest) { tx.exec(sqlPutTaskBlob, int64(id), d[:]) }

// PutUsage stores how many bytes are kept for an account.
func (tx *Tx) PutUsage(a core.AccountID, bytes int64) { tx.exec(sqlPutUsage, string(a), bytes) }

// count executes a statement that is too rare to be prepared, and returns how
// many rows it changed.
func (tx *Tx) count(q string, args ...any) int64 {
	if tx.err != nil {
		return 0
	}
	res, err := tx.s.conn.ExecContext(context.Background(), q, args...)
	if err != nil {
		tx.Fail(err)
		return 0
	}
	n, err := res.RowsAffected()
	if err != nil {
		tx.Fail(err)
	}
	return n
}

// Usage returns how many bytes are kept for each account.
func (s *Store) Usage(ctx context.Context) (map[core.AccountID]int64, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT account, bytes FROM usage`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[core.AccountID]int64{}
	for rows.Next() {
		var a core.AccountID
		var n int64
		if err := rows.Scan((*string)(&a), &n); err != nil {
			return nil, err
		}
		out[a] = n
	}
	return out, rows.Err()
}
