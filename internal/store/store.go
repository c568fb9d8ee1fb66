// Package store keeps the hub's truth in SQLite: tasks, parts, money, the log's
// leaves, nodes, keys. It knows rows, not rules; control decides what to write.
//
// One goroutine writes. It takes whatever jobs are waiting, runs them in one
// transaction, commits (one fsync) and only then lets each caller go on: group
// commit without a waiting window. A job decides before it writes, and an error
// it returns must have written nothing; so one bad request never touches its
// neighbours. An error of the database itself, or a COMMIT whose outcome is
// unknown, stops the store for good: the process must be restarted, and nothing
// that was not committed has been acknowledged.
//
// Readers use connections of their own and see committed rows only.
package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"atoll/internal/planted"
)

// ErrStopped is returned for every job once the store has failed or is closed.
var ErrStopped = errors.New("store: stopped")

// Point is a moment around a commit at which a test may crash the hub.
type Point string

// The two moments that matter: nothing is durable yet, and all is durable but
// nobody has been told.
const (
	BeforeCommit Point = "before-commit"
	AfterCommit  Point = "after-commit"
)

// Config for Open.
type Config struct {
	Path string // of the database file; its directory exists
	Log  *slog.Logger
	Now  func() time.Time // nil: the real clock
	// Finish, if set, runs at the end of each batch, inside the transaction.
	Finish func(*Tx)
	// Crash, if set, is asked at each Point; true kills the store there, as a
	// power cut would.
	Crash func(Point) bool
	// Inline runs each job in the caller's goroutine, without Run: for
	// simulation under one thread.
	Inline bool
	// NoSync leaves out fsync. Only for tests that do not cut the power.
	NoSync bool
}

// Store is an open database.
type Store struct {
	cfg   Config
	write *sql.DB
	read  *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt

	mu      sync.Mutex // in Inline mode, and around batches
	queue   chan *job
	stopped chan struct{} // closed when the store has failed or is closed
	stop    sync.Once
	failure atomic.Pointer[error]

	leaves  int64        // next dense index; owned by the writer, as what follows up to commits
	doc     bytes.Buffer // of the statement that is being made
	commits atomic.Int64
	jobs    atomic.Int64
}

type job struct {
	fn   func(*Tx) error
	err  error
	done chan struct{}
}

const (
	maxBatch  = 512
	maxYields = 8
)

// Open opens or creates the database and brings its schema up to date.
func Open(cfg Config) (*Store, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	sync := "FULL"
	if cfg.NoSync {
		sync = "OFF"
	}
	dsn := func(extra string) string {
		return "file:" + (&url.URL{Path: cfg.Path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(" + sync + ")" + extra
	}
	s := &Store{cfg: cfg, queue: make(chan *job, 4*maxBatch), stopped: make(chan struct{}), stmts: map[string]*sql.Stmt{}}
	var err error
	if s.write, err = sql.Open("sqlite", dsn("&_pragma=cache_size(-16384)&_pragma=wal_autocheckpoint(4000)&_pragma=foreign_keys(0)")); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s.write.SetMaxOpenConns(1)
	if err = s.init(); err != nil {
		s.write.Close()
		return nil, fmt.Errorf("store: open %s: %w", cfg.Path, err)
	}
	if s.read, err = sql.Open("sqlite", dsn("&_pragma=cache_size(-4096)&_pragma=query_only(1)")); err != nil {
		s.write.Close()
		return nil, fmt.Errorf("store: %w", err)
	}
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(4)
	return s, nil
}

func (s *Store) init() error {
	ctx := context.Background()
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	s.conn = conn
	var version int
	if err := conn.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	current := 1 + len(migrations)
	if version > current {
		return fmt.Errorf("schema version %d is newer than this program knows (%d): use a newer atoll", version, current)
	}
	if version < current {
		steps := schema + strings.Join(migrations, "")
		if version > 0 {
			steps = strings.Join(migrations[version-1:], "")
		}
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE;%sPRAGMA user_version=%d;COMMIT;", steps, current)); err != nil {
			return err
		}
	}
	for _, q := range []string{sqlBegin, sqlCommit, sqlInsertTask, sqlUpdateTask, sqlPutPart, sqlPutResult, sqlPutReported, sqlPutEvents, sqlPutIdempotency,
		sqlFindIdempotency, sqlPutAccount, sqlPutTransfer, sqlPutLeaf, sqlPutCheckpoint, sqlPutNode, sqlPutKey, sqlDeleteKey,
		sqlPutToken, sqlPutModel, sqlPutService, sqlDeleteService, sqlPutCallback, sqlPutUpload, sqlPutTaskBlob, sqlPutUsage, sqlPutFedEvent, sqlPutMeta} {
		if s.stmts[q], err = conn.PrepareContext(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return conn.QueryRowContext(ctx, `SELECT COALESCE(MAX(idx)+1, 0) FROM leaves`).Scan(&s.leaves)
}

// Do runs fn inside the next transaction and returns once that is durable. fn
// runs alone; an error it returns is handed back, and it must not have written.
// If ctx ends first Do returns its error, but the job may still be committed.
func (s *Store) Do(ctx context.Context, fn func(*Tx) error) error {
	j := &job{fn: fn, done: make(chan struct{})}
	if s.cfg.Inline {
		s.runBatch([]*job{j})
		return j.err
	}
	select {
	case s.queue <- j:
	case <-s.stopped:
		return s.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		select {
		case <-j.done:
			return j.err
		default:
			return s.Err()
		}
	}
}

// Go is Do without waiting: for jobs that tell of their outcome by Tx.After.
// It blocks while the queue is full, and drops the job if the store has stopped.
func (s *Store) Go(fn func(*Tx)) {
	j := &job{fn: func(tx *Tx) error { fn(tx); return nil }, done: make(chan struct{})}
	if s.cfg.Inline {
		s.runBatch([]*job{j})
		return
	}
	select {
	case s.queue <- j:
	case <-s.stopped:
	}
}

// Run is the writer. It returns when ctx ends, with the waiting jobs refused,
// or with the error that stopped the store.
func (s *Store) Run(ctx context.Context) error {
	batch := make([]*job, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case <-ctx.Done():
			s.fail(ErrStopped)
			return nil
		case j := <-s.queue:
			batch = append(batch, j)
		}
		batch = s.gather(batch)
		s.runBatch(batch)
		if err := s.Err(); err != nil {
			return err
		}
	}
}

// gather takes what waits. It does not wait for more, but lets every goroutine
// that could run at once run first: those that were told of the last commit are
// about to bring their next job, and a commit costs as much for one job as for
// many.
func (s *Store) gather(batch []*job) []*job {
	for yields := 0; len(batch) < maxBatch; {
		select {
		case j := <-s.queue:
			batch = append(batch, j)
			continue
		default:
		}
		if yields == maxYields {
			break
		}
		yields++
		runtime.Gosched()
	}
	return batch
}

func (s *Store) runBatch(batch []*job) {
	s.mu.Lock()
	tx := &Tx{s: s, Now: s.cfg.Now()}
	err := s.commit(tx, batch)
	s.mu.Unlock()
	if err != nil {
		s.fail(err)
		tx.after = nil
	}
	for _, f := range tx.after {
		f()
	}
	if planted.Commit {
		return // all were answered before
	}
	for _, j := range batch {
		if err != nil {
			j.err = s.Err()
		}
		close(j.done)
	}
}

func (s *Store) commit(tx *Tx, batch []*job) error {
	if err := s.Err(); err != nil {
		return err
	}
	leaves := s.leaves
	tx.exec(sqlBegin)
	for _, j := range batch {
		if tx.err != nil {
			break
		}
		j.err = j.fn(tx)
	}
	if s.cfg.Finish != nil && tx.err == nil {
		s.cfg.Finish(tx)
	}
	if planted.Commit {
		for _, j := range batch {
			close(j.done)
		}
	}
	if tx.err == nil && s.cfg.Crash != nil && s.cfg.Crash(BeforeCommit) {
		tx.err = errors.New("crash before commit")
	}
	if tx.err != nil {
		s.leaves = leaves
		_, _ = s.conn.ExecContext(context.Background(), "ROLLBACK")
		return fmt.Errorf("store: transaction given up, nothing of it was kept: %w", tx.err)
	}
	if tx.exec(sqlCommit); tx.err != nil {
		return fmt.Errorf("store: outcome of a commit is unknown: %w", tx.err)
	}
	s.commits.Add(1)
	s.jobs.Add(int64(len(batch)))
	if s.cfg.Crash != nil && s.cfg.Crash(AfterCommit) {
		return errors.New("crash after commit")
	}
	return nil
}

func (s *Store) fail(err error) {
	s.stop.Do(func() {
		if !errors.Is(err, ErrStopped) {
			s.cfg.Log.Error("the store has stopped; restart the hub", "error", err)
			err = fmt.Errorf("%w: %w", ErrStopped, err)
		}
		s.failure.Store(&err)
		close(s.stopped)
	})
}

// Err returns why the store has stopped, or nil.
func (s *Store) Err() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Stopped is closed when the store takes no more jobs.
func (s *Store) Stopped() <-chan struct{} { return s.stopped }

// Syncs returns how many transactions were committed, each with one fsync of
// the write-ahead log, and how many jobs they held.
func (s *Store) Syncs() (commits, jobs int64) { return s.commits.Load(), s.jobs.Load() }

// Close ends all jobs and closes the database.
func (s *Store) Close() error {
	s.fail(ErrStopped)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.stmts {
		st.Close()
	}
	return errors.Join(s.conn.Close(), s.read.Close(), s.write.Close())
}
