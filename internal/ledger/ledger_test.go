package ledger

import (
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
)

// Any sequence of transfers, most of them nonsense, keeps the invariants.
func TestInvariants(t *testing.T) {
	t.Parallel()
	accounts := []core.AccountID{Issuer, "ann", "ben", "cy"}
	rapid.Check(t, func(t *rapid.T) {
		b := NewBook()
		var applied []Transfer
		for i := range rapid.IntRange(1, 60).Draw(t, "n") {
			tr := Transfer{
				ID:     core.TransferID(i + 1),
				Kind:   rapid.SampledFrom([]Kind{Issue, Hold, Post, Void, "odd"}).Draw(t, "kind"),
				Debit:  rapid.SampledFrom(accounts).Draw(t, "debit"),
				Credit: rapid.SampledFrom(accounts).Draw(t, "credit"),
				Amount: core.Money(rapid.Int64Range(-5, 1000).Draw(t, "amount")),
				Task:   core.TaskID(rapid.IntRange(1, 4).Draw(t, "task")),
			}
			switch tr.Kind {
			case Issue:
				tr.Task = 0
				if rapid.Bool().Draw(t, "right") {
					tr.Debit = Issuer
				}
			case Hold:
				tr.Credit = tr.Debit
			case Void:
				tr.Credit = tr.Debit
				if rapid.Bool().Draw(t, "all") {
					tr.Amount = b.Escrows[tr.Task].Left()
					tr.Debit = b.Escrows[tr.Task].Account
					tr.Credit = tr.Debit
				}
			case Post:
				if e := b.Escrows[tr.Task]; e.Account != "" {
					tr.Debit = e.Account
				}
			}
			if err := b.Apply(tr); err == nil {
				applied = append(applied, tr)
			}
			check(t, b)
		}
		replay := NewBook()
		for _, tr := range applied {
			if err := replay.Apply(tr); err != nil {
				t.Fatalf("replay refused %+v: %v", tr, err)
			}
		}
		for id, a := range b.Accounts {
			if replay.Accounts[id] != a {
				t.Fatalf("replay: account %s is %+v, was %+v", id, replay.Accounts[id], a)
			}
		}
	})
}

func check(t *rapid.T, b *Book) {
	var sum, held core.Money
	for id, a := range b.Accounts {
		sum += a.Available + a.Held
		held += a.Held
		if id != Issuer && a.Available < 0 {
			t.Fatalf("account %s is overdrawn: %s", id, a.Available)
		}
		if a.Held < 0 {
			t.Fatalf("account %s holds %s", id, a.Held)
		}
	}
	if sum != 0 {
		t.Fatalf("accounts sum to %s, not 0", sum)
	}
	var left core.Money
	for _, e := range b.Escrows {
		if e.Left() < 0 || (e.Closed && e.Left() != 0) {
			t.Fatalf("hold %+v does not add up", e)
		}
		left += e.Left()
	}
	if left != held {
		t.Fatalf("holds have %s left, accounts hold %s", left, held)
	}
	if b.Debits != b.Credits {
		t.Fatalf("debits %s, credits %s", b.Debits, b.Credits)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := NewBook()
	ok := func(tr Transfer) {
		t.Helper()
		if err := b.Apply(tr); err != nil {
			t.Fatal(err)
		}
	}
	no := func(tr Transfer, kind core.Kind) {
		t.Helper()
		before := b.Accounts[tr.Debit]
		if err := b.Apply(tr); core.KindOf(err) != kind || err == nil {
			t.Fatalf("%+v: got %v, want kind %s", tr, err, kind)
		}
		if b.Accounts[tr.Debit] != before {
			t.Fatalf("%+v was refused but changed the account", tr)
		}
	}
	ok(Transfer{ID: 1, Kind: Issue, Debit: Issuer, Credit: "ann", Amount: 100})
	no(Transfer{ID: 2, Kind: Issue, Debit: "ann", Credit: "ben", Amount: 1}, core.Internal)
	no(Transfer{ID: 3, Kind: Hold, Debit: "ann", Credit: "ann", Amount: 101, Task: 7}, core.Insufficient)
	ok(Transfer{ID: 4, Kind: Hold, Debit: "ann", Credit: "ann", Amount: 60, Task: 7})
	no(Transfer{ID: 5, Kind: Hold, Debit: "ann", Credit: "ann", Amount: 1, Task: 7}, core.Internal)
	no(Transfer{ID: 6, Kind: Post, Debit: "ann", Credit: "ben", Amount: 61, Task: 7}, core.Internal)
	no(Transfer{ID: 7, Kind: Post, Debit: "ben", Credit: "cy", Amount: 1, Task: 7}, core.Internal)
	ok(Transfer{ID: 8, Kind: Post, Debit: "ann", Credit: "ben", Amount: 25, Task: 7})
	ok(Transfer{ID: 9, Kind: Post, Debit: "ann", Credit: "ann", Amount: 5, Task: 7})
	no(Transfer{ID: 10, Kind: Void, Debit: "ann", Credit: "ann", Amount: 29, Task: 7}, core.Internal)
	ok(Transfer{ID: 11, Kind: Void, Debit: "ann", Credit: "ann", Amount: 30, Task: 7})
	no(Transfer{ID: 12, Kind: Post, Debit: "ann", Credit: "ben", Amount: 0, Task: 7}, core.Internal)
	no(Transfer{ID: 13, Kind: Issue, Debit: Issuer, Credit: "ann", Amount: -1}, core.Invalid)
	if a := b.Accounts["ann"]; a.Available != 75 || a.Held != 0 {
		t.Fatalf("ann ends with %+v", a)
	}
}
