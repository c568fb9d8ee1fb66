package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
)

// Tx is the transaction of one batch of jobs. Its writes do not return errors:
// the first one is kept, and fails the whole batch at its end.
type Tx struct {
	// Now is when the batch began.
	Now time.Time
	// Local is the caller's own state for the length of the batch.
	Local any

	s     *Store
	err   error
	after []func()
}

// After has f run once the batch is durable, in order, before its callers go on.
func (tx *Tx) After(f func()) { tx.after = append(tx.after, f) }

// Fail gives the batch up: for a broken invariant, which must not be committed.
func (tx *Tx) Fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

func (tx *Tx) exec(q string, args ...any) {
	if tx.err != nil {
		return
	}
	if _, err := tx.s.stmts[q].Exec(args...); err != nil {
		tx.Fail(fmt.Errorf("%.40s…: %w", q, err))
	}
}

// doc encodes a document; its bytes are valid until the next.
func (tx *Tx) doc(v any) []byte {
	s := tx.s
	s.doc.Reset()
	if err := json.NewEncoder(&s.doc).Encode(v); err != nil {
		tx.Fail(err)
		return nil
	}
	return bytes.TrimSuffix(s.doc.Bytes(), []byte{'\n'})
}

// InsertTask stores a new task. input may be nil.
func (tx *Tx) InsertTask(t *lifecycle.Task, spec, input []byte) {
	tx.exec(sqlInsertTask, int64(t.ID), string(t.Account), string(t.State), isOpen(t), tx.doc(t), spec, input)
}

// UpdateTask stores a task's new state.
func (tx *Tx) UpdateTask(t *lifecycle.Task) {
	var unpruned any
	if isOpen(t) == 0 {
		unpruned = t.EndedMs
	}
	tx.exec(sqlUpdateTask, string(t.State), isOpen(t), unpruned, tx.doc(t), int64(t.ID))
}

func isOpen(t *lifecycle.Task) int {
	if t.Ended() && t.Settled {
		return 0
	}
	return 1
}

// PutPart stores a part with its leases.
func (tx *Tx) PutPart(id core.TaskID, p *lifecycle.Part) {
	tx.exec(sqlPutPart, int64(id), p.Index, tx.doc(p))
}

// PutResult stores a result's bytes; nil means that the blob store has them.
func (tx *Tx) PutResult(id core.TaskID, part int, d core.Digest, data []byte) {
	tx.exec(sqlPutResult, int64(id), part, d[:], data)
}

// PutReported remembers which part a lease that has reported is of.
func (tx *Tx) PutReported(l core.LeaseID, id core.TaskID, part int) {
	tx.exec(sqlPutReported, int64(l), int64(id), part)
}

// PutEvents appends events, whose IDs follow on the task's earlier ones.
func (tx *Tx) PutEvents(id core.TaskID, ev []lifecycle.Event) {
	tx.exec(sqlPutEvents, int64(id), ev[0].ID, tx.doc(ev))
}

// FindIdempotency returns the task and body digest of a key seen before.
func (tx *Tx) FindIdempotency(a core.AccountID, key string) (id core.TaskID, body core.Digest, ok bool) {
	var b []byte
	err := tx.s.stmts[sqlFindIdempotency].QueryRow(string(a), key).Scan((*int64)(&id), &b)
	if err == nil {
		copy(body[:], b)
		return id, body, true
	}
	if !errors.Is(err, sql.ErrNoRows) {
		tx.Fail(err)
	}
	return 0, body, false
}

// PutIdempotency remembers a key.
func (tx *Tx) PutIdempotency(a core.AccountID, key string, id core.TaskID, body core.Digest) {
	tx.exec(sqlPutIdempotency, string(a), key, int64(id), body[:])
}

// PutAccount stores a balance.
func (tx *Tx) PutAccount(a ledger.Account) {
	tx.exec(sqlPutAccount, string(a.ID), int64(a.Available), int64(a.Held), a.CreatedMs)
}

// PutTransfer stores a transfer; its ID must be new.
func (tx *Tx) PutTransfer(t ledger.Transfer) {
	tx.exec(sqlPutTransfer, int64(t.ID), t.Ms, string(t.Kind), string(t.Debit), string(t.Credit), int64(t.Amount), int64(t.Task), int64(t.Lease), t.Memo)
}

// AppendLeaf stores a signed statement under the next dense log index.
func (tx *Tx) AppendLeaf(body, envelope []byte) int64 {
	i := tx.s.leaves
	tx.s.leaves++
	tx.exec(sqlPutLeaf, i, body, envelope)
	return i
}

// Leaves returns how many leaves there are, this batch's included.
func (tx *Tx) Leaves() int64 { return tx.s.leaves }

// PutCheckpoint stores a signed checkpoint over the first size leaves.
func (tx *Tx) PutCheckpoint(c Checkpoint) {
	tx.exec(sqlPutCheckpoint, c.Size, c.Epoch, c.Root[:], c.Note, c.Ms)
}

// PutNode stores a node's document.
func (tx *Tx) PutNode(id core.NodeID, doc any) { tx.exec(sqlPutNode, string(id), tx.doc(doc)) }

// PutKey stores an API key by its hash.
func (tx *Tx) PutKey(id string, hash core.Digest, doc any) {
	tx.exec(sqlPutKey, id, hash[:], tx.doc(doc))
}

// DeleteKey removes an API key.
func (tx *Tx) DeleteKey(id string) { tx.exec(sqlDeleteKey, id) }

// PutToken stores a join token by its hash.
func (tx *Tx) PutToken(hash core.Digest, doc any) { tx.exec(sqlPutToken, hash[:], tx.doc(doc)) }

// FindToken reads a join token, or ErrNoRow.
func (tx *Tx) FindToken(hash core.Digest, into any) error {
	var doc []byte
	err := tx.s.conn.QueryRowContext(context.Background(), `SELECT doc FROM tokens WHERE hash=?`, hash[:]).Scan(&doc)
	if err != nil {
		return noRow(err)
	}
	return json.Unmarshal(doc, into)
}

// PutModel stores a new version of a model.
func (tx *Tx) PutModel(name string, version int, doc any) {
	tx.exec(sqlPutModel, name, version, tx.doc(doc))
}

// PutService stores a service under its name.
func (tx *Tx) PutService(name string, doc any) { tx.exec(sqlPutService, name, tx.doc(doc)) }

// DeleteService removes a service.
func (tx *Tx) DeleteService(name string) { tx.exec(sqlDeleteService, name) }

// PutMeta stores a single value under a name.
func (tx *Tx) PutMeta(k string, v []byte) { tx.exec(sqlPutMeta, k, v) }

// States of a callback.
const (
	CallbackDue  = "due"
	CallbackDone = "done"
	CallbackDead = "dead"
)

// Callback is a row of the outbox of callbacks.
type Callback struct {
	ID       int64
	Task     core.TaskID
	Account  core.AccountID
	DueMs    int64
	Attempts int
	State    string
	Doc      []byte
}

// PutCallback stores a callback or its new state.
func (tx *Tx) PutCallback(c Callback) {
	tx.exec(sqlPutCallback, c.ID, int64(c.Task), string(c.Account), c.DueMs, c.Attempts, c.State, c.Doc)
}

// Checkpoint is a row of the log's published history.
type Checkpoint struct {
	Size  int64
	Epoch int64
	Root  core.Digest
	Note  []byte
	Ms    int64
}
