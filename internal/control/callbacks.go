package control

import (
	"context"
	"encoding/json"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/request"
	"atoll/internal/store"
	"atoll/internal/webhook"
)

// callbackDoc is a callback as it is kept in the outbox.
type callbackDoc struct {
	URL  string          `json:"url"`
	Body json.RawMessage `json:"body"`
}

// callback puts a task's end into the outbox, in the transaction that ends it.
func (b *batch) callback(t *task) {
	if t.callback == "" {
		return
	}
	id := b.c.ids.Next()
	body, err := webhook.Event{
		ID: core.TransferID(id).String(), Source: "urn:atoll:hub:" + b.c.cfg.HubID, Type: "atoll.task." + string(t.State) + ".v1",
		Subject: t.ID.String(), Time: moment(b.now), Data: viewTask(&t.Task, nil),
	}.Encode()
	if err != nil {
		b.tx.Fail(err)
		return
	}
	doc, err := json.Marshal(callbackDoc{URL: t.callback, Body: body})
	if err != nil {
		b.tx.Fail(err)
		return
	}
	b.tx.PutCallback(store.Callback{ID: id, Task: t.ID, Account: t.Account, DueMs: b.now, State: store.CallbackDue, Doc: doc})
	if wake := b.c.cfg.WakeCallbacks; wake != nil {
		b.tx.After(wake)
	}
}

// WebhookKeys returns what an account's callbacks are verified with.
func (c *Control) WebhookKeys(_ context.Context, v request.Viewer) (out api.WebhookKeys, err error) {
	if c.cfg.WebhookKeys == nil {
		return out, core.Errorf(core.Unsupported, "this hub makes no callbacks")
	}
	out.Secret, out.PublicKey, err = c.cfg.WebhookKeys(v.Account)
	return out, err
}

// PendingCallback is one delivery that is due.
type PendingCallback struct {
	store.Callback
	URL  string
	Body []byte
}

// DueCallbacks reads what is to be delivered by now, account by account in turn,
// the oldest of each first.
func (c *Control) DueCallbacks(ctx context.Context, now time.Time, limit int) ([]PendingCallback, error) {
	rows, err := c.store.Callbacks(ctx, now.UnixMilli(), limit)
	if err != nil {
		return nil, err
	}
	out := make([]PendingCallback, 0, len(rows))
	for _, r := range rows {
		var d callbackDoc
		if err := json.Unmarshal(r.Doc, &d); err != nil {
			return nil, err
		}
		out = append(out, PendingCallback{Callback: r, URL: d.URL, Body: d.Body})
	}
	return out, nil
}

// UpdateCallback stores the outcome of an attempt.
func (c *Control) UpdateCallback(ctx context.Context, cb store.Callback) error {
	return c.job(ctx, func(b *batch) error {
		b.tx.PutCallback(cb)
		return nil
	})
}
