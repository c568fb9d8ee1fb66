package store

import (
	"context"
	"encoding/json"
	"iter"

	"atoll/internal/core"
)

// PutFederation stores a federation's document, or its new state. open: it may go on.
func (tx *Tx) PutFederation(id core.FederationID, a core.AccountID, open bool, doc any) {
	isOpen := 0
	if open {
		isOpen = 1
	}
	tx.count(`INSERT INTO federations (id, account, open, doc) VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET open=excluded.open, doc=excluded.doc`, int64(id), string(a), isOpen, tx.doc(doc))
}

// PutFederationEvent stores what has happened in the round under way, under the next
// number from 1.
func (tx *Tx) PutFederationEvent(id core.FederationID, seq int64, doc any) {
	tx.exec(sqlPutFedEvent, int64(id), seq, tx.doc(doc))
}

// PutFederationRound stores what has come of a round.
func (tx *Tx) PutFederationRound(id core.FederationID, number int, doc any) {
	tx.count(`INSERT INTO federation_rounds (federation, number, doc) VALUES (?,?,?)`, int64(id), number, tx.doc(doc))
}

// PutFederationBlob keeps content until EndFederationRound.
func (tx *Tx) PutFederationBlob(id core.FederationID, d core.Digest) {
	tx.count(`INSERT INTO federation_blobs (federation, digest) VALUES (?,?) ON CONFLICT DO NOTHING`, int64(id), d[:])
}

// EndFederationRound forgets the events of a round, and returns what content the
// federation names no more.
func (tx *Tx) EndFederationRound(id core.FederationID) (unnamed []core.Digest) {
	tx.count(`DELETE FROM federation_log WHERE federation=?`, int64(id))
	return tx.digests(`DELETE FROM federation_blobs WHERE federation=? RETURNING digest`, int64(id))
}

// OpenFederations reads the documents of federations that may go on, oldest first.
func OpenFederations[T any](ctx context.Context, s *Store) ([]*T, error) {
	return docs[T](ctx, s.read, `SELECT doc FROM federations WHERE open = 1 ORDER BY id`)
}

// Federation reads one document, or ErrNoRow.
func Federation[T any](ctx context.Context, s *Store, id core.FederationID) (*T, error) {
	return one(docs[T](ctx, s.read, `SELECT doc FROM federations WHERE id=?`, int64(id)))
}

// Federations reads an account's documents, newest first, with IDs under before.
func Federations[T any](ctx context.Context, s *Store, a core.AccountID, before core.FederationID, limit int) ([]*T, error) {
	return docs[T](ctx, s.read, `SELECT doc FROM federations WHERE account=? AND id<? ORDER BY id DESC LIMIT ?`, string(a), int64(before), limit)
}

// FederationEvents reads what has happened in the round under way, in order, one by one:
// all of it may be more than fits into memory.
func FederationEvents[T any](ctx context.Context, s *Store, id core.FederationID) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		rows, err := s.read.QueryContext(ctx, `SELECT doc FROM federation_log WHERE federation=? ORDER BY seq`, int64(id))
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var doc []byte
			v := new(T)
			err := rows.Scan(&doc)
			if err == nil {
				err = json.Unmarshal(doc, v)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// FederationRounds reads what has come of rounds after one, in order.
func FederationRounds[T any](ctx context.Context, s *Store, id core.FederationID, after, limit int) ([]*T, error) {
	return docs[T](ctx, s.read, `SELECT doc FROM federation_rounds WHERE federation=? AND number>? ORDER BY number LIMIT ?`, int64(id), after, limit)
}
