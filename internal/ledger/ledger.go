// Package ledger holds the rules of money. It is pure: Apply takes the accounts
// and the hold that a transfer touches and returns them changed, or refuses.
//
// Double entry in integer micro-credits, two-phase: a hold sets an amount of an
// account aside; posts pay from the hold; a void gives the rest back. Each
// transfer has an ID made by whoever wants it, so that wanting it twice does it
// once. Invariants, tested as properties:
//
//	sum of all accounts (issuer included) = 0
//	no account but the issuer has a negative available balance
//	hold.Amount = hold.Posted + hold.Voided + what is still held
//	replaying the transfers in any batching gives the same balances
package ledger

import (
	"fmt"

	"atoll/internal/core"
)

// Issuer is the operator's own account: the credits in circulation are its debt.
const Issuer core.AccountID = "issuer"

// Kind of transfer.
type Kind string

// Kinds. Issue moves credits from the issuer to an account. Hold sets aside,
// Post pays from a hold, Void returns what is left of it and closes it.
const (
	Issue Kind = "issue"
	Hold  Kind = "hold"
	Post  Kind = "post"
	Void  Kind = "void"
)

// Transfer is one movement. Debit loses, Credit gains; for holds and voids both
// are the account itself, whose available and held parts change.
type Transfer struct {
	ID     core.TransferID
	Ms     int64 // Unix milliseconds
	Kind   Kind
	Debit  core.AccountID
	Credit core.AccountID
	Amount core.Money
	Task   core.TaskID  // names the hold: each task has one
	Lease  core.LeaseID // what a post pays for
	Memo   string
}

// Account is a balance. Available and Held are disjoint.
type Account struct {
	ID        core.AccountID
	Available core.Money
	Held      core.Money
	CreatedMs int64
}

// Escrow is the hold of one task.
type Escrow struct {
	Task    core.TaskID
	Account core.AccountID
	Amount  core.Money
	Posted  core.Money
	Voided  core.Money
	Closed  bool
}

// Left is what is still held.
func (e Escrow) Left() core.Money { return e.Amount - e.Posted - e.Voided }

// State is the part of the ledger that one transfer touches.
type State struct {
	Debit, Credit Account // the same account for holds and voids: then only Debit counts
	Escrow        Escrow
}

// Apply returns the state after the transfer. It refuses, and changes nothing,
// when the rules do not allow it; core.Insufficient means too little credit.
func Apply(s State, t Transfer) (State, error) {
	if t.Amount < 0 || t.Amount > core.MaxMoney {
		return s, core.Errorf(core.Invalid, "transfer of %s: amounts are between 0 and %s", t.Amount, core.MaxMoney)
	}
	if s.Debit.ID != t.Debit || (t.Kind != Hold && t.Kind != Void && s.Credit.ID != t.Credit) {
		return s, fmt.Errorf("ledger: transfer %s is applied to the wrong accounts", t.ID)
	}
	switch t.Kind {
	case Issue:
		return issue(s, t)
	case Hold:
		return hold(s, t)
	case Post:
		return post(s, t)
	case Void:
		return void(s, t)
	}
	return s, fmt.Errorf("ledger: transfer %s has unknown kind %q", t.ID, t.Kind)
}

func issue(s State, t Transfer) (State, error) {
	if t.Debit != Issuer || t.Credit == Issuer {
		return s, fmt.Errorf("ledger: only the issuer issues credits, and not to itself")
	}
	sum, ok := core.Add(s.Credit.Available, t.Amount)
	if !ok || sum > core.MaxMoney {
		return s, core.Errorf(core.Invalid, "account %s would hold more than %s", t.Credit, core.MaxMoney)
	}
	s.Debit.Available -= t.Amount
	s.Credit.Available = sum
	return s, nil
}

func hold(s State, t Transfer) (State, error) {
	switch {
	case s.Escrow.Task != 0:
		return s, fmt.Errorf("ledger: %s has a hold already", t.Task)
	case t.Credit != t.Debit:
		return s, fmt.Errorf("ledger: a hold stays within one account")
	case s.Debit.Available < t.Amount:
		return s, core.Errorf(core.Insufficient, "account %s has %s available, the task may cost up to %s", t.Debit, s.Debit.Available, t.Amount)
	}
	s.Debit.Available -= t.Amount
	s.Debit.Held += t.Amount
	s.Escrow = Escrow{Task: t.Task, Account: t.Debit, Amount: t.Amount}
	return s, nil
}

func post(s State, t Transfer) (State, error) {
	switch {
	case s.Escrow.Task != t.Task || s.Escrow.Account != t.Debit || s.Escrow.Closed:
		return s, fmt.Errorf("ledger: %s has no open hold of %s", t.Task, t.Debit)
	case t.Amount > s.Escrow.Left():
		return s, fmt.Errorf("ledger: %s holds %s, not %s", t.Task, s.Escrow.Left(), t.Amount)
	}
	s.Escrow.Posted += t.Amount
	s.Debit.Held -= t.Amount
	if t.Credit == t.Debit { // an owner who uses its own nodes
		s.Debit.Available += t.Amount
		s.Credit = s.Debit
		return s, nil
	}
	sum, ok := core.Add(s.Credit.Available, t.Amount)
	if !ok {
		return s, fmt.Errorf("ledger: balance of %s overflows", t.Credit)
	}
	s.Credit.Available = sum
	return s, nil
}

func void(s State, t Transfer) (State, error) {
	switch {
	case s.Escrow.Task != t.Task || s.Escrow.Account != t.Debit || s.Escrow.Closed:
		return s, fmt.Errorf("ledger: %s has no open hold of %s", t.Task, t.Debit)
	case t.Amount != s.Escrow.Left():
		return s, fmt.Errorf("ledger: a void returns all of the %s left, not %s", s.Escrow.Left(), t.Amount)
	}
	s.Escrow.Voided += t.Amount
	s.Escrow.Closed = true
	s.Debit.Held -= t.Amount
	s.Debit.Available += t.Amount
	return s, nil
}

// Book is a whole ledger in memory: what a replay of all transfers gives.
type Book struct {
	Accounts map[core.AccountID]Account
	Escrows  map[core.TaskID]Escrow
	Debits   core.Money // moved between accounts or parts of accounts
	Credits  core.Money
}

// NewBook returns an empty ledger.
func NewBook() *Book {
	return &Book{Accounts: map[core.AccountID]Account{}, Escrows: map[core.TaskID]Escrow{}}
}

// Apply applies one transfer to the book.
func (b *Book) Apply(t Transfer) error {
	s := State{Debit: b.account(t.Debit), Credit: b.account(t.Credit), Escrow: b.Escrows[t.Task]}
	s, err := Apply(s, t)
	if err != nil {
		return err
	}
	if t.Debit != t.Credit {
		b.Accounts[t.Credit] = s.Credit
	}
	b.Accounts[t.Debit] = s.Debit
	if t.Task != 0 {
		b.Escrows[t.Task] = s.Escrow
	}
	b.Debits += t.Amount
	b.Credits += t.Amount
	return nil
}

func (b *Book) account(id core.AccountID) Account {
	if a, ok := b.Accounts[id]; ok {
		return a
	}
	return Account{ID: id}
}
