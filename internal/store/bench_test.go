package store

import (
	"path/filepath"
	"testing"

	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
)

// BenchmarkTask writes what one single-part task writes in its three
// transactions, 64 tasks to a transaction, with fsync.
func BenchmarkTask(b *testing.B) {
	s, err := Open(Config{Path: filepath.Join(b.TempDir(), "db"), Inline: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const batch = 64
	id := int64(1 << 40)
	for b.Loop() {
		tasks := make([]*lifecycle.Task, batch)
		part := &lifecycle.Part{State: lifecycle.PartRunning, Leases: []lifecycle.Lease{{ID: 1, Node: "paris-1", Owner: "alice", State: lifecycle.Offered, Nonce: "0123456789abcdef0123456789abcdef"}}}
		events := []lifecycle.Event{{ID: 1, Type: "task.queued", Message: "1 parts"}, {ID: 2, Type: "lease.offered", Message: "to paris-1 of alice in FR for 0.01"}}
		do := func(fn func(*Tx, *lifecycle.Task)) {
			err := s.Do(b.Context(), func(tx *Tx) error {
				for _, t := range tasks {
					fn(tx, t)
				}
				tx.PutAccount(ledger.Account{ID: "demo"})
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		for i := range tasks {
			id += 1 << 10
			tasks[i] = &lifecycle.Task{ID: core.TaskID(id), Account: "demo", State: lifecycle.Running, Model: "noop@1", Parts: 1}
		}
		do(func(tx *Tx, t *lifecycle.Task) {
			tx.InsertTask(t, []byte(`{"model":"noop@1","input":[{"uri":"data:"}]}`), nil)
			tx.PutPart(t.ID, part)
			tx.PutEvents(t.ID, events)
			tx.PutTransfer(ledger.Transfer{ID: core.TransferID(t.ID + 1), Kind: ledger.Hold, Debit: "demo", Credit: "demo", Amount: 1, Task: t.ID})
		})
		events = []lifecycle.Event{{ID: 3, Type: "lease.reported"}, {ID: 4, Type: "task.succeeded", Message: "all 1 parts done"}}
		do(func(tx *Tx, t *lifecycle.Task) {
			t.State = lifecycle.Succeeded
			tx.UpdateTask(t)
			tx.PutPart(t.ID, part)
			tx.PutEvents(t.ID, events)
		})
		do(func(tx *Tx, t *lifecycle.Task) {
			t.Settled = true
			tx.UpdateTask(t)
			tx.PutTransfer(ledger.Transfer{ID: core.TransferID(t.ID + 2), Kind: ledger.Post, Debit: "demo", Credit: "alice", Amount: 1, Task: t.ID})
			tx.PutTransfer(ledger.Transfer{ID: core.TransferID(t.ID + 3), Kind: ledger.Void, Debit: "demo", Credit: "demo", Amount: 1, Task: t.ID})
		})
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/batch, "µs/task")
}
