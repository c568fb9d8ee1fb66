package app

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"atoll/internal/control"
	"atoll/internal/core"
	"atoll/internal/fetch"
	"atoll/internal/identity"
	"atoll/internal/store"
	"atoll/internal/webhook"
)

// callbacks gives the dispatcher its outbox, which is a table of the hub's
// database, and each account its secret.
type callbacks struct {
	control *control.Control
	private ed25519.PrivateKey

	mu  sync.Mutex
	due map[string]store.Callback // handed to the dispatcher, by delivery ID
}

// openCallbacks makes what delivers callbacks; it begins with Run.
func (h *Hub) openCallbacks(cc *control.Config, fetcher *fetch.Client) error {
	private, err := identity.LoadOrCreateEd25519(h.path("keys"), "webhook")
	if err != nil {
		return err
	}
	sender, err := webhook.NewSender(webhook.SenderConfig{Client: fetcher, Key: private})
	if err != nil {
		return err
	}
	h.outbox = &callbacks{private: private}
	h.dispatcher, err = webhook.NewDispatcher(webhook.DispatcherConfig{Outbox: h.outbox, Send: sender.Send, Log: h.cfg.Log})
	if err != nil {
		return err
	}
	cc.WakeCallbacks = h.dispatcher.Wake
	cc.WebhookKeys = func(account core.AccountID) (secret, public string, err error) {
		s, err := accountSecret(private, account)
		return s.Reveal(), webhook.FormatPublicKey(private.Public().(ed25519.PublicKey)), err
	}
	return nil
}

// accountSecret is the shared secret with which callbacks to an account are
// signed: derived from the hub's own key, so that there is nothing more to keep.
func accountSecret(private ed25519.PrivateKey, account core.AccountID) (webhook.Secret, error) {
	mac := hmac.New(sha256.New, private.Seed())
	fmt.Fprintf(mac, "atoll webhook secret v1\n%s", account)
	return webhook.ParseSecret("whsec_" + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// Due implements webhook.Outbox.
func (c *callbacks) Due(ctx context.Context, now time.Time, limit int) ([]webhook.Delivery, error) {
	rows, err := c.control.DueCallbacks(ctx, now, limit)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = make(map[string]store.Callback, len(rows))
	out := make([]webhook.Delivery, 0, len(rows))
	for _, r := range rows {
		secret, err := accountSecret(c.private, r.Account)
		if err != nil {
			return nil, err
		}
		id := "msg_" + core.TransferID(r.ID).String()
		c.due[id] = r.Callback
		out = append(out, webhook.Delivery{ID: id, Account: string(r.Account), URL: r.URL, Body: r.Body, Secret: secret, Attempt: r.Attempts})
	}
	return out, nil
}

// Done implements webhook.Outbox.
func (c *callbacks) Done(ctx context.Context, id string) error {
	return c.update(ctx, id, func(cb *store.Callback) { cb.State = store.CallbackDone })
}

// Retry implements webhook.Outbox.
func (c *callbacks) Retry(ctx context.Context, id string, at time.Time, _ error) error {
	return c.update(ctx, id, func(cb *store.Callback) { cb.DueMs = at.UnixMilli() })
}

// Dead implements webhook.Outbox.
func (c *callbacks) Dead(ctx context.Context, id, _ string) error {
	return c.update(ctx, id, func(cb *store.Callback) { cb.State = store.CallbackDead })
}

func (c *callbacks) update(ctx context.Context, id string, edit func(*store.Callback)) error {
	n, err := deliveryID(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	cb, ok := c.due[id]
	c.mu.Unlock()
	if !ok { // looked up again since: its row is what it was
		if cb, err = c.control.Store().Callback(ctx, n); err != nil {
			return err
		}
	}
	cb.Attempts++
	edit(&cb)
	return c.control.UpdateCallback(ctx, cb)
}

func deliveryID(id string) (int64, error) {
	var x core.TransferID
	if len(id) < 4 {
		return 0, fmt.Errorf("callback %q has no ID", id)
	}
	err := x.UnmarshalText([]byte(id[4:]))
	return int64(x), err
}
