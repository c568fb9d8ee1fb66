package simtest

import (
	"slices"

	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
)

// judgeMoney replays the ledger and holds each payment against its lease.
func (w *World) judgeMoney(b *books) {
	leases := map[core.LeaseID]*lifecycle.Lease{}
	for _, t := range b.tasks {
		for _, p := range t.parts {
			for i := range p.Leases {
				leases[p.Leases[i].ID] = &p.Leases[i]
			}
		}
	}
	book := ledger.NewBook()
	holds, paid := map[core.TaskID]int{}, map[core.TransferID]int{}
	for _, x := range b.transfers {
		if err := book.Apply(x); err != nil {
			w.violation("the ledger cannot be replayed: %s: %v", x.ID, err)
		}
		switch x.Kind {
		case ledger.Hold:
			if holds[x.Task]++; holds[x.Task] > 1 || b.byID[x.Task] == nil {
				w.violation("%s: hold %d of %s", x.ID, holds[x.Task], x.Task)
			}
		case ledger.Post:
			w.result.Paid++
			if paid[x.ID]++; paid[x.ID] > 1 {
				w.violation("%s was paid %d times: %s", x.Lease, paid[x.ID], x.ID)
			}
			if l := leases[x.Lease]; l == nil || l.State != lifecycle.Passed || !granted(l, &x) {
				w.violation("%s pays %s to %s for %s, which has not earned it so", x.ID, x.Amount, x.Credit, x.Lease)
			}
		}
	}
	for id, l := range leases {
		if l.State != lifecycle.Passed {
			continue
		}
		for _, p := range l.Payments() {
			if p.Amount > 0 && paid[p.Transfer] != 1 {
				w.violation("%s has passed, and %s was not paid for it", id, p.Node)
			}
		}
	}
	sum := core.Money(0)
	for _, a := range b.accounts {
		sum += a.Available + a.Held
		if have := book.Accounts[a.ID]; have.Available != a.Available || have.Held != a.Held {
			w.violation("%s has %s and %s held; its transfers give %s and %s", a.ID, a.Available, a.Held, have.Available, have.Held)
		}
		if a.Held != 0 || (a.Available < 0 && a.ID != ledger.Issuer) {
			w.violation("%s ends with %s available and %s held", a.ID, a.Available, a.Held)
		}
	}
	if sum != 0 {
		w.violation("all accounts together have %s", sum)
	}
	for _, t := range b.tasks {
		e := book.Escrows[t.ID]
		if e.Amount != t.Terms.MaxCost || e.Left() != 0 || e.Posted != t.Paid || e.Voided != t.Refunded || t.Pending != 0 {
			w.violation("%s: of %s held, %s were paid and %s given back; the task says %s, %s, and %s pending", t.ID, e.Amount, e.Posted, e.Voided, t.Paid, t.Refunded, t.Pending)
		}
	}
}

// granted reports whether a lease's verdict has granted just this payment.
func granted(l *lifecycle.Lease, x *ledger.Transfer) bool {
	return slices.ContainsFunc(l.Payments(), func(p lifecycle.Payment) bool {
		return p.Transfer == x.ID && p.Amount == x.Amount && p.Owner == x.Credit
	})
}
