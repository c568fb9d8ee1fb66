// Package outbox keeps a node's signed reports on disk from before they are
// sent until the hub has acknowledged them. A report that was sent and then
// forgotten would make the node sign its lease a second time after a crash; one
// that was finished and never stored would cost the node its pay.
//
// # Layout
//
// One SQLite database with one table:
//
//	report  id      integer primary key, counted up by the agent
//	        leases  8 bytes each, big-endian: the leases that the report speaks of
//	        body    the message as it is sent, a bus.Report in JSON
//
// [Outbox.Put] is one transaction in WAL mode with synchronous=FULL: one fsync
// for a batch of reports, and for the forgetting of earlier ones along with it.
// The database is locked for one process; a second agent over the same
// directory is refused.
//
// [Memory] is the same thing without a disk, for simulation.
package outbox

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"atoll/internal/core"
)

// ErrDamaged means that a stored report cannot be what was put there.
var ErrDamaged = errors.New("outbox is damaged")

// Entry is one report that awaits its acknowledgement.
type Entry struct {
	ID     int64
	Leases []core.LeaseID
	Body   []byte
}

// Config for Open.
type Config struct {
	Path string // of the database file; its directory exists
	// NoSync leaves out fsync. Only for tests that do not cut the power.
	NoSync bool
}

// Outbox is an open database. It is safe for concurrent use.
type Outbox struct {
	db          *sql.DB
	add, forget *sql.Stmt
}

const schema = `CREATE TABLE IF NOT EXISTS report (
	id INTEGER PRIMARY KEY, leases BLOB NOT NULL, body BLOB NOT NULL)`

// Open opens or creates the database.
func Open(cfg Config) (*Outbox, error) {
	level := "FULL"
	if cfg.NoSync {
		level = "OFF"
	}
	dsn := "file:" + (&url.URL{Path: cfg.Path}).EscapedPath() +
		"?_pragma=locking_mode(EXCLUSIVE)&_pragma=journal_mode(WAL)&_pragma=synchronous(" + level + ")"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	db.SetMaxOpenConns(1) // one writer, and with it the lock, for as long as we live
	db.SetConnMaxIdleTime(0)
	o := &Outbox{db: db}
	if err := o.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open outbox %s: %w", cfg.Path, err), db.Close())
	}
	return o, nil
}

func (o *Outbox) prepare() (err error) {
	if _, err = o.db.Exec(schema); err != nil {
		return err
	}
	if o.add, err = o.db.Prepare(`INSERT INTO report (id, leases, body) VALUES (?, ?, ?)`); err != nil {
		return err
	}
	o.forget, err = o.db.Prepare(`DELETE FROM report WHERE id = ?`)
	return err
}

// Put stores reports and forgets others, both or neither, and returns once that
// is durable. After an error it is not known which: the agent must stop and
// read the outbox again.
func (o *Outbox) Put(add []Entry, forget []int64) error {
	tx, err := o.db.BeginTx(context.Background(), nil)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	if err := o.write(tx, add, forget); err != nil {
		return errors.Join(fmt.Errorf("outbox: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("outbox: commit: %w", err)
	}
	return nil
}

func (o *Outbox) write(tx *sql.Tx, add []Entry, forget []int64) error {
	insert, remove := tx.Stmt(o.add), tx.Stmt(o.forget)
	for _, e := range add {
		if _, err := insert.Exec(e.ID, packLeases(e.Leases), e.Body); err != nil {
			return fmt.Errorf("report %d: %w", e.ID, err)
		}
	}
	for _, id := range forget {
		if _, err := remove.Exec(id); err != nil {
			return fmt.Errorf("forget report %d: %w", id, err)
		}
	}
	return nil
}

// All returns every stored report, oldest first.
func (o *Outbox) All() (entries []Entry, err error) {
	rows, err := o.db.Query(`SELECT id, leases, body FROM report ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var e Entry
		var packed []byte
		if err := rows.Scan(&e.ID, &packed, &e.Body); err != nil {
			return nil, fmt.Errorf("outbox: %w", err)
		}
		if e.Leases, err = unpackLeases(packed); err != nil {
			return nil, fmt.Errorf("outbox: report %d: %w", e.ID, err)
		}
		entries = append(entries, e)
	}
	return entries, rows.Err()
}

// Close closes the database and gives up its lock.
func (o *Outbox) Close() error {
	return errors.Join(o.add.Close(), o.forget.Close(), o.db.Close())
}

const leaseBytes = 8

func packLeases(leases []core.LeaseID) []byte {
	b := make([]byte, 0, leaseBytes*len(leases))
	for _, l := range leases {
		b = binary.BigEndian.AppendUint64(b, uint64(l))
	}
	return b
}

func unpackLeases(b []byte) ([]core.LeaseID, error) {
	if len(b) == 0 || len(b)%leaseBytes != 0 {
		return nil, fmt.Errorf("%w: %d bytes of lease IDs", ErrDamaged, len(b))
	}
	leases := make([]core.LeaseID, 0, len(b)/leaseBytes)
	for ; len(b) > 0; b = b[leaseBytes:] {
		id := core.LeaseID(binary.BigEndian.Uint64(b))
		if id <= 0 {
			return nil, fmt.Errorf("%w: lease ID %d", ErrDamaged, int64(id))
		}
		leases = append(leases, id)
	}
	return leases, nil
}
