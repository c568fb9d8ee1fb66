package webhook

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"atoll/internal/fetch"
)

// Delivery is one callback as the outbox holds it.
type Delivery struct {
	ID      string // webhook-id: the same in every attempt
	Account string // whose it is: accounts share the dispatcher fairly
	URL     string
	Body    []byte // an encoded Event
	Secret  Secret // of the account; zero: signed with the hub's key alone
	Attempt int    // attempts made so far
}

// Outcome is what an attempt means for its delivery.
type Outcome int

const (
	Retry Outcome = iota // not this time
	Done                 // received
	Dead                 // never
)

// Result of one attempt. Err is nil for Done only; it does not repeat the URL,
// which may hold a token.
type Result struct {
	Outcome Outcome
	Status  int // of the HTTP answer; 0 if there was none
	Err     error
}

// SenderConfig configures a Sender.
type SenderConfig struct {
	Client  *fetch.Client      // the guard
	Key     ed25519.PrivateKey // signs every callback; may be nil
	Timeout time.Duration      // of an attempt; 0: 10 s
}

// Sender makes attempts. It is immutable and safe for concurrent use.
type Sender struct{ c SenderConfig }

// NewSender returns a sender.
func NewSender(c SenderConfig) (*Sender, error) {
	if c.Client == nil || c.Timeout < 0 || c.Key != nil && len(c.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("webhook: a sender needs a client, and its timeout and key must be valid")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return &Sender{c}, nil
}

// Send makes one attempt, stamped and signed with now.
func (s *Sender) Send(ctx context.Context, d Delivery, now time.Time) Result {
	ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	defer cancel()
	req, err := s.request(ctx, d, now)
	if err != nil {
		return Result{Dead, 0, err} // and would fail the same way tomorrow
	}
	resp, err := s.c.Client.Do(req)
	if err != nil {
		// Also if the guard refused the address: tomorrow the name may have another.
		return Result{Retry, 0, fmt.Errorf("%s: %w", req.URL.Host, err)}
	}
	defer resp.Body.Close()
	status := resp.StatusCode
	// The status line decides. The body is read a little, so that the receiver
	// is not cut off while it writes.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxResponse))
	switch {
	case status >= 200 && status < 300:
		return Result{Done, status, nil}
	case status >= 300 && status < 400:
		return Result{Retry, status, fmt.Errorf("%s redirects (%d), and redirects are not followed", req.URL.Host, status)}
	case status == http.StatusGone:
		return Result{Dead, status, fmt.Errorf("%s answered 410 Gone", req.URL.Host)}
	}
	return Result{Retry, status, fmt.Errorf("%s answered %d", req.URL.Host, status)}
}

func (s *Sender) request(ctx context.Context, d Delivery, now time.Time) (*http.Request, error) {
	u, err := s.c.Client.CheckURL(d.URL)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(d.Body))
	if err != nil {
		return nil, errors.New("webhook: the URL makes no request")
	}
	req.Header.Set("Content-Type", ContentType)
	req.Header.Set("User-Agent", "atoll")
	keys := Keys{Secrets: []Secret{d.Secret}, Private: s.c.Key}
	return req, keys.Sign(req.Header, d.ID, now, d.Body)
}
