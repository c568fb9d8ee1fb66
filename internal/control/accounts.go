package control

import (
	"context"
	"fmt"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/request"
)

// Accounts lists balances: all for an admin, one's own otherwise.
func (c *Control) Accounts(ctx context.Context, v request.Viewer) ([]api.Account, error) {
	rows, err := c.store.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	usage, err := c.store.Usage(ctx)
	out := []api.Account{}
	for _, a := range rows {
		if v.Admin || a.ID == v.Account {
			out = append(out, c.viewAccount(a, usage[a.ID]))
		}
	}
	return out, err
}

func (c *Control) viewAccount(a ledger.Account, stored int64) api.Account {
	return api.Account{ID: a.ID, Available: a.Available, Held: a.Held, CreatedAt: moment(a.CreatedMs), StoredBytes: stored, StorageLimit: c.quota.limit}
}

// CreateAccount opens an account, with credit if it is new.
func (c *Control) CreateAccount(ctx context.Context, id core.AccountID, credit core.Money, memo string) (api.Account, error) {
	if err := core.CheckName("account", string(id)); err != nil {
		return api.Account{}, core.Errorf(core.Invalid, "%w", err).At("id")
	}
	var out api.Account
	err := c.job(ctx, func(b *batch) error {
		if credit < 0 {
			return core.Errorf(core.Invalid, "want 0 credits or more").At("credit")
		}
		if c.accounts[id] != nil || id == ledger.Issuer {
			return core.Errorf(core.Conflict, "account %s exists", id).WithHint("add credit with POST /v1/accounts/" + string(id) + "/credit")
		}
		a := c.account(id, b.now)
		b.touchAccount(a)
		if credit > 0 {
			if err := b.issue(a, core.TransferID(c.ids.Next()), credit, memo); err != nil {
				return err
			}
		}
		out = c.viewAccount(*a, c.quota.change(id, 0, 0))
		return nil
	})
	return out, err
}

// Credit issues credits. The same key issues once.
func (c *Control) Credit(ctx context.Context, id core.AccountID, amount core.Money, key, memo string) (api.Account, error) {
	var out api.Account
	body := core.DigestOf(fmt.Appendf(nil, "credit %s %d", id, amount))
	err := c.job(ctx, func(b *batch) error {
		a := c.accounts[id]
		if a == nil || id == ledger.Issuer {
			return core.Errorf(core.NotFound, "no account %s", id)
		}
		if key != "" {
			if _, had, ok := b.tx.FindIdempotency(ledger.Issuer, key); ok {
				if had != body {
					return core.Errorf(core.Mismatch, "the Idempotency-Key was used for another credit")
				}
				out = c.viewAccount(*a, c.quota.change(id, 0, 0))
				return nil
			}
		}
		x := core.TransferID(c.ids.Next())
		if err := b.issue(a, x, amount, memo); err != nil {
			return err
		}
		if key != "" {
			b.tx.PutIdempotency(ledger.Issuer, key, core.TaskID(x), body)
		}
		out = c.viewAccount(*a, c.quota.change(id, 0, 0))
		return nil
	})
	return out, err
}

func (b *batch) issue(a *ledger.Account, id core.TransferID, amount core.Money, memo string) error {
	issuer := b.c.account(ledger.Issuer, b.now)
	tr := ledger.Transfer{ID: id, Ms: b.now, Kind: ledger.Issue, Debit: ledger.Issuer, Credit: a.ID, Amount: amount, Memo: core.Clip(memo, 200)}
	st, err := ledger.Apply(ledger.State{Debit: *issuer, Credit: *a}, tr)
	if err != nil {
		return err
	}
	*issuer, *a = st.Debit, st.Credit
	b.touchAccount(issuer)
	b.touchAccount(a)
	b.tx.PutTransfer(tr)
	return nil
}

// Statement lists an account's transfers, newest first.
func (c *Control) Statement(ctx context.Context, v request.Viewer, id core.AccountID, p request.Page) ([]api.Transfer, string, error) {
	if !v.Admin && v.Account != id {
		return nil, "", core.Errorf(core.NotFound, "no account %s", id)
	}
	c.mu.Lock()
	known := c.accounts[id] != nil
	c.mu.Unlock()
	if !known {
		return nil, "", core.Errorf(core.NotFound, "no account %s", id)
	}
	before := core.TransferID(1<<63 - 1)
	if p.Cursor != "" {
		if err := before.UnmarshalText([]byte(p.Cursor)); err != nil {
			return nil, "", badCursor(err)
		}
	}
	rows, err := c.store.Statement(ctx, id, before, p.Limit+1)
	next := ""
	if len(rows) > p.Limit {
		rows = rows[:p.Limit]
		next = rows[p.Limit-1].ID.String()
	}
	out := make([]api.Transfer, 0, len(rows))
	for _, t := range rows {
		out = append(out, api.Transfer{ID: t.ID, Time: moment(t.Ms), Kind: string(t.Kind), Debit: t.Debit, Credit: t.Credit, Amount: t.Amount, Task: t.Task, Lease: t.Lease, Memo: t.Memo})
	}
	return out, next, err
}
