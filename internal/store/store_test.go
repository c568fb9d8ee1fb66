package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
)

func open(t *testing.T, path string, crash func(Point) bool) *Store {
	t.Helper()
	s, err := Open(Config{Path: path, NoSync: true, Inline: true, Crash: crash})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestTasksAndParts(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"), nil)
	ctx := t.Context()
	err := s.Do(ctx, func(tx *Tx) error {
		for i := 1; i <= 5; i++ {
			task := &lifecycle.Task{ID: core.TaskID(i), Account: "ann", State: lifecycle.Running, Parts: 2, Settled: i > 3}
			if i > 3 {
				task.State = lifecycle.Succeeded
			}
			tx.InsertTask(task, []byte(`{"model":"m"}`), []byte("input"))
			tx.PutPart(task.ID, &lifecycle.Part{Index: 0, State: lifecycle.PartWaiting})
			tx.PutPart(task.ID, &lifecycle.Part{Index: 1, State: lifecycle.PartWaiting})
			tx.PutPart(task.ID, &lifecycle.Part{Index: 1, State: lifecycle.PartRunning, Leases: []lifecycle.Lease{{ID: 9, State: lifecycle.Offered}}})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	openTasks, err := s.OpenTasks(ctx)
	if err != nil || len(openTasks) != 3 {
		t.Fatalf("open tasks: %d, %v; want 3", len(openTasks), err)
	}
	page, err := s.Tasks(ctx, "ann", "", 5, 2)
	if err != nil || len(page) != 2 || page[0].ID != 4 || page[1].ID != 3 {
		t.Fatalf("tasks under 5: %v, %v", page, err)
	}
	if page, _ := s.Tasks(ctx, "ben", "", 99, 9); len(page) != 0 {
		t.Fatalf("ben sees %d of ann's tasks", len(page))
	}
	if page, _ := s.Tasks(ctx, "", "succeeded", 99, 9); len(page) != 2 {
		t.Fatalf("%d succeeded, want 2", len(page))
	}
	parts, err := s.Parts(ctx, 2, 1, 10)
	if err != nil || len(parts) != 1 || parts[0].State != lifecycle.PartRunning || parts[0].Lease(9) == nil {
		t.Fatalf("part 1: %+v, %v", parts, err)
	}
	if _, _, err := s.Task(ctx, 77); !errors.Is(err, ErrNoRow) {
		t.Fatalf("unknown task: %v", err)
	}
}

func TestEventsResume(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"), nil)
	next := int64(1)
	for _, n := range []int{3, 1, 4} {
		var ev []lifecycle.Event
		for range n {
			ev = append(ev, lifecycle.Event{ID: next, Type: "x"})
			next++
		}
		if err := s.Do(t.Context(), func(tx *Tx) error { tx.PutEvents(7, ev); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for after := int64(0); after <= 8; after++ {
		ev, err := s.Events(t.Context(), 7, after, 100)
		if err != nil || int64(len(ev)) != 8-after {
			t.Fatalf("after %d: %d events, %v; want %d", after, len(ev), err, 8-after)
		}
		for i, e := range ev {
			if e.ID != after+1+int64(i) {
				t.Fatalf("after %d: event %d has ID %d", after, i, e.ID)
			}
		}
	}
}

// A crash before the commit keeps nothing, a crash after it keeps all; neither
// acknowledges, and both stop the store.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, point := range []Point{BeforeCommit, AfterCommit} {
		path := filepath.Join(t.TempDir(), "db")
		armed := false
		s := open(t, path, func(p Point) bool { return armed && p == point })
		write := func(s *Store, told *bool) error {
			return s.Do(t.Context(), func(tx *Tx) error {
				tx.AppendLeaf([]byte("body"), []byte("envelope"))
				tx.After(func() { *told = true })
				return nil
			})
		}
		var told bool
		if err := write(s, &told); err != nil || !told {
			t.Fatalf("%s: first write: %v, told %v", point, err, told)
		}
		armed, told = true, false
		if err := write(s, &told); !errors.Is(err, ErrStopped) || told {
			t.Fatalf("%s: crashed write: %v, told %v", point, err, told)
		}
		if err := write(s, &told); !errors.Is(err, ErrStopped) {
			t.Fatalf("%s: the store went on after a crash: %v", point, err)
		}
		s.Close()
		again := open(t, path, nil)
		want := int64(1)
		if point == AfterCommit {
			want = 2
		}
		if n, err := again.LeafCount(t.Context()); n != want || err != nil {
			t.Fatalf("%s: %d leaves after restart, want %d (%v)", point, n, want, err)
		}
	}
}

// A refused job writes nothing and its neighbours in the batch are kept; a
// constraint that fails stops the store rather than commit half a batch.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	s, err := Open(Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	refusal := errors.New("no")
	var jobs sync.WaitGroup
	for i := range 200 {
		jobs.Go(func() {
			err := s.Do(ctx, func(tx *Tx) error {
				if i%2 == 1 {
					return refusal
				}
				tx.PutAccount(ledger.Account{ID: core.AccountID(fmt.Sprint("a", i))})
				return nil
			})
			if (i%2 == 1) != errors.Is(err, refusal) {
				t.Errorf("job %d: %v", i, err)
			}
		})
	}
	jobs.Wait()
	if n, err := s.Accounts(ctx); len(n) != 100 || err != nil {
		t.Errorf("%d accounts, want 100: %v", len(n), err)
	}
	commits, done := s.Syncs()
	if done != 200 || commits > 200 {
		t.Errorf("%d commits for %d jobs", commits, done)
	}
	tr := ledger.Transfer{ID: 1, Kind: ledger.Issue, Debit: "x", Credit: "y"}
	post := func() error { return s.Do(ctx, func(tx *Tx) error { tx.PutTransfer(tr); return nil }) }
	if err := post(); err != nil {
		t.Error(err)
	}
	if err := post(); !errors.Is(err, ErrStopped) {
		t.Errorf("a transfer ID used twice: %v, want the store to stop", err)
	}
	cancel()
	wg.Wait()
}

// The backlog of one account does not hide what is due for others.
func TestCallbacksInTurn(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"), nil)
	err := s.Do(t.Context(), func(tx *Tx) error {
		for i := range int64(100) {
			tx.PutCallback(Callback{ID: i, Account: "ann", DueMs: 10 + i, State: CallbackDue, Doc: []byte("{}")})
		}
		tx.PutCallback(Callback{ID: 200, Account: "ben", DueMs: 500, State: CallbackDue, Doc: []byte("{}")})
		tx.PutCallback(Callback{ID: 201, Account: "ben", DueMs: 400, State: CallbackDue, Doc: []byte("{}")})
		tx.PutCallback(Callback{ID: 300, Account: "eve", DueMs: 450, State: CallbackDue, Doc: []byte("{}")})
		tx.PutCallback(Callback{ID: 301, Account: "eve", DueMs: 1, State: CallbackDone, Doc: []byte("{}")})
		tx.PutCallback(Callback{ID: 302, Account: "fay", DueMs: 501, State: CallbackDue, Doc: []byte("{}")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	due, err := s.Callbacks(t.Context(), 500, 7)
	var got []int64
	for _, c := range due {
		got = append(got, c.ID)
	}
	if want := []int64{0, 201, 300, 1, 200, 2, 3}; err != nil || !slices.Equal(got, want) || due[1].Account != "ben" {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if due, err := s.Callbacks(t.Context(), 0, 7); err != nil || len(due) != 0 {
		t.Errorf("nothing is due: %v, %v", due, err)
	}
}

// A database of the first version gets what came since, and keeps what it has.
func TestMigration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), schema+`
INSERT INTO tasks (id, account, state, open, doc, spec, input) VALUES (7, 'ann', 'succeeded', 0, '{}', '{}', '');
INSERT INTO callbacks (id, task, due, attempts, state, doc) VALUES (8, 7, 1, 2, 'due', '{}');
PRAGMA user_version=1;`)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s := open(t, path, nil)
	if due, err := s.Callbacks(t.Context(), 1, 9); err != nil || len(due) != 1 || due[0].Account != "ann" || due[0].Attempts != 2 {
		t.Errorf("%+v, %v", due, err)
	}
}

// Whichever version a database is of, it becomes what a new one is.
func TestMigrationsMeet(t *testing.T) {
	t.Parallel()
	tables := func(s *Store) string {
		var all string
		err := s.conn.QueryRowContext(t.Context(), `SELECT group_concat(type || ' ' || name || ' ' || COALESCE(sql, ''), char(10)) FROM (SELECT * FROM sqlite_master ORDER BY type, name)`).Scan(&all)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := tables(open(t, filepath.Join(t.TempDir(), "db"), nil))
	for version := 1; version <= len(migrations); version++ {
		path := filepath.Join(t.TempDir(), "db")
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.ExecContext(t.Context(), schema+strings.Join(migrations[:version-1], "")+`
INSERT INTO tasks (id, account, state, open, doc, spec, input) VALUES (7, 'ann', 'succeeded', 0, '{"ended":5}', '{}', '');
`+fmt.Sprintf("PRAGMA user_version=%d;", version))
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		s := open(t, path, nil)
		if got := tables(s); got != want {
			t.Errorf("version %d becomes\n%s\nwant\n%s", version, got, want)
		}
		var tasks int
		if err := s.conn.QueryRowContext(t.Context(), `SELECT count(*) FROM tasks WHERE account='ann'`).Scan(&tasks); err != nil || tasks != 1 {
			t.Errorf("version %d: %d tasks are left, %v", version, tasks, err)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path, nil)
	if _, err := s.conn.ExecContext(t.Context(), "PRAGMA user_version=99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(Config{Path: path}); err == nil {
		t.Fatal("opened a database of a newer schema")
	}
}
