package agent

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/policy"
)

// Errors of a batch as a whole. One sealed by another hub fails with
// identity.ErrOtherSeal, a forged one with identity.ErrSignature.
var (
	ErrBatch     = errors.New("lease batch not understood")
	ErrOtherHub  = errors.New("lease batch of another hub")
	ErrOtherNode = errors.New("lease batch for another node")
	ErrOtherLife = errors.New("lease batch for another life of this node")
)

const shuttingDown = "the node is shutting down"

// open checks who sealed a batch, and for whom.
func (c *Core) open(sealed []byte) (*bus.LeaseBatch, error) {
	payload, err := identity.Open(sealed, bus.LeasePayloadType, c.cfg.HubKey)
	if err != nil {
		return nil, err
	}
	var b bus.LeaseBatch
	if err := bus.Decode(payload, &b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBatch, err)
	}
	switch {
	case b.Hub != c.cfg.Hub:
		return nil, fmt.Errorf("%w: %.80q, and this node has joined %q", ErrOtherHub, b.Hub, c.cfg.Hub)
	case b.Node != c.cfg.Node:
		return nil, fmt.Errorf("%w: %.80q", ErrOtherNode, b.Node)
	case b.Boot != c.cfg.Boot:
		// A late copy, perhaps of what that life has done and reported. The hub
		// offers anew what is still wanted once it hears of this life.
		return nil, ErrOtherLife
	case b.IssuedMs <= 0:
		return nil, fmt.Errorf("%w: it has no date", ErrBatch)
	}
	return &b, nil
}

// offer answers one offer: as before if it is known, else by the rules.
func (c *Core) offer(l *bus.Lease) {
	if h := c.held[l.ID]; h != nil {
		if !h.cancelled {
			h.told, h.toldStart = false, false
			c.tell(h)
		}
		return
	}
	if r := c.byLease[l.ID]; r != nil {
		c.sendAgain(r)
		return
	}
	if m, known := c.memory.find(l.ID); known {
		if m.how == refused {
			c.status.refuse(&c.clock, bus.Refusal{Lease: l.ID, Reason: m.reason})
		}
		return
	}
	reason := c.rules.judge(l, c.clock.hubMs())
	switch {
	case reason != "":
	case c.draining:
		reason = shuttingDown
	case len(c.held) >= c.cfg.Offer.Queue:
		reason = fmt.Sprintf("the node's queue is full: it holds %d leases", len(c.held))
	case c.outboxBytes > maxOutboxBytes:
		reason = fmt.Sprintf("the node's outbox is full: %d reports await the hub", len(c.reports))
	}
	h := &held{lease: *l}
	if reason != "" {
		c.refuse(h, reason)
		return
	}
	c.counts.Accepted++
	c.held[l.ID] = h
	c.queue = append(c.queue, h)
	c.queueExpiry = min(c.queueExpiry, l.ExpiresMs)
	c.tell(h)
}

// rules judge an offer by itself, whatever else the node holds.
type rules struct {
	cfg *CoreConfig

	// The last residency and selector: neighbours in a batch have the same.
	residencyOf []string
	residency   policy.Residency
	residencyOK error
	selectorOf  string
	selector    policy.Selector
	selectorOK  error
}

// judge returns why an offer is refused, or "". The node trusts the hub's
// signature for who asks and what is paid, and its own eyes for everything that
// it can see itself.
func (r *rules) judge(l *bus.Lease, hubMs int64) string {
	if reason := r.form(l); reason != "" {
		return reason
	}
	o := &r.cfg.Offer
	switch {
	case l.ExpiresMs <= hubMs:
		return fmt.Sprintf("the offer has expired, %d ms ago by the hub's clock as this node knows it", hubMs-l.ExpiresMs)
	case l.Price < o.Price:
		return fmt.Sprintf("price %s is under this node's floor of %s", l.Price, o.Price)
	case l.PenaltyPerMille > r.cfg.MaxPenalty:
		return fmt.Sprintf("the task withholds %s of the price for a report after more than %s, and this node takes at most %s", percent(l.PenaltyPerMille), time.Duration(l.LatencyMs)*time.Millisecond, percent(r.cfg.MaxPenalty))
	case len(o.Accounts) > 0 && !slices.Contains(o.Accounts, l.Account):
		return fmt.Sprintf("this node does not work for account %.63q", l.Account)
	case !slices.Contains(o.Engines, l.Engine):
		return fmt.Sprintf("this node has no engine %.63q, only %s", l.Engine, strings.Join(o.Engines, ", "))
	case l.CPUMillis > o.CPUMillis:
		return fmt.Sprintf("asks for %d thousandths of a core, and this node has %d", l.CPUMillis, o.CPUMillis)
	case l.Memory > o.Memory:
		return fmt.Sprintf("asks for %d bytes of memory, and this node has %d", l.Memory, o.Memory)
	case r.cfg.MaxModel > 0 && l.ModelSize > r.cfg.MaxModel && l.Line.IsZero(): // of a line's model its layers are here
		return fmt.Sprintf("a model of %d bytes, and this node takes %d", l.ModelSize, r.cfg.MaxModel)
	case r.cfg.MaxInput > 0 && l.InputSize > r.cfg.MaxInput:
		return fmt.Sprintf("an input of %d bytes, and this node takes %d", l.InputSize, r.cfg.MaxInput)
	}
	return r.place(l)
}

// mayKeep reports whether a lease of the model could be taken.
func (r *rules) mayKeep(k *bus.KeptModel) bool {
	o := &r.cfg.Offer
	return slices.Contains(o.Engines, k.Engine) && k.Size >= 0 && (r.cfg.MaxModel == 0 || k.Size <= r.cfg.MaxModel) &&
		core.CheckName("account", string(k.Account)) == nil && (len(o.Accounts) == 0 || slices.Contains(o.Accounts, k.Account))
}

func percent(perMille int) string {
	return strconv.FormatFloat(float64(perMille)/10, 'f', -1, 64) + " %"
}

// form refuses what no hub should send.
func (r *rules) form(l *bus.Lease) string {
	switch {
	case l.ID <= 0 || l.Task <= 0 || l.Part < 0:
		return "the lease names no task and part"
	case core.CheckName("account", string(l.Account)) != nil:
		return "the lease names no account"
	case l.Attempt < 0 || len(l.Nonce) > maxToken || len(l.Traceparent) > maxToken:
		return "attempt, nonce or traceparent is out of bounds"
	case l.Nonce == "" || l.Model.IsZero() || l.Input.IsZero():
		return "the lease has no nonce, model or input"
	case l.ExecutionMs <= 0 || l.ExecutionMs > maxExecutionMs:
		return fmt.Sprintf("an execution limit of %d ms: want 1 to %d", l.ExecutionMs, int64(maxExecutionMs))
	case l.LatencyMs < 0 || l.PenaltyPerMille < 0 || l.PenaltyPerMille > 1000:
		return "latency or penalty is out of bounds"
	case l.CPUMillis < 0 || l.Memory < 0 || l.ModelSize < 0 || l.InputSize < 0:
		return "a size is negative"
	case l.InputSize <= bus.InlineLimit && int64(len(l.Data)) != l.InputSize:
		return fmt.Sprintf("the input should come along: %d bytes of %d", len(l.Data), l.InputSize)
	case l.InputSize > bus.InlineLimit && len(l.Data) > 0:
		return fmt.Sprintf("an input of %d bytes should not come along", l.InputSize)
	case l.InputSize <= bus.InlineLimit && core.DigestOf(l.Data) != l.Input:
		return "the input does not match its digest"
	}
	return ""
}

// place checks what the hub should have checked: that this node may do it here.
func (r *rules) place(l *bus.Lease) string {
	if !slices.Equal(l.Residency, r.residencyOf) {
		r.residencyOf = l.Residency
		r.residency, r.residencyOK = policy.Parse(l.Residency)
	}
	if l.Selector != r.selectorOf {
		r.selectorOf = l.Selector
		r.selector, r.selectorOK = policy.ParseSelector(l.Selector)
	}
	switch o := &r.cfg.Offer; {
	case r.residencyOK != nil:
		return "residency: " + r.residencyOK.Error()
	case !r.residency.Allows(o.Country):
		return fmt.Sprintf("residency: this node is in %s, and the task may run in %s only", o.Country, r.residency)
	case r.selectorOK != nil:
		return "selector: " + r.selectorOK.Error()
	case !r.selector.Matches(o.Labels):
		return fmt.Sprintf("this node's labels do not match %s", r.selector)
	}
	return ""
}
