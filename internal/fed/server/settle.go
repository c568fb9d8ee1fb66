package server

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/receipt"
	"atoll/internal/store"
)

// round is what SQL has of a round that is over.
type round struct {
	fed.Round
	Leaf int64 `json:"leaf"` // of its receipt
	AtMs int64 `json:"at"`   // when it ended, by the hub's clock
	Ms   int64 `json:"took"` // by the federation's
}

// settle writes what an event has ended: a round, or the run. The machine is ahead of SQL
// until that is durable; if it cannot be written at all the run is made anew from SQL.
func (r *run) settle(e *event) (durable <-chan struct{}, err error) {
	defer func() {
		if err != nil {
			r.broken = err
		}
	}()
	after := r.machine.State()
	now := r.s.cfg.Now()
	rec := r.rec
	rec.Machine, rec.BeganMs = small(after), e.AtMs
	rec.Machine.Attempt = 0 // which a machine made anew begins with its first
	switch {
	case after.Stopped != "":
		rec.State, rec.Why, rec.EndedMs = api.FederationFailed, after.Stopped, now.UnixMilli()
		rec.NextMs = next(&rec, r.plan.Spec, now)
		r.rec, r.orders = rec, nil
		return r.write(func(tx *store.Tx, _ logger) {
			r.forget(tx)
			tx.PutFederationBlob(rec.ID, rec.Weights)
			tx.PutFederation(rec.ID, rec.Account, rec.kept(), &rec)
		}), nil
	case r.machine.Over():
		rec.State, rec.EndedMs = api.FederationDone, now.UnixMilli()
		rec.NextMs = next(&rec, r.plan.Spec, now)
	}
	d, _, release, err := r.s.cfg.Blobs.PutUrgent(context.Background(), bytes.NewReader(weights(after)), core.Digest{}, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	done := round{Round: after.Rounds[len(after.Rounds)-1], AtMs: now.UnixMilli(), Ms: e.AtMs - r.rec.BeganMs}
	signed, err := r.sign(&done)
	if err != nil {
		release()
		return nil, err
	}
	rec.Weights, rec.Before = d, done.Params
	r.rec, r.events = rec, 0
	if r.renew(); !rec.open() {
		r.orders = nil
	}
	return r.write(func(tx *store.Tx, log logger) {
		done.Leaf = log(signed)
		r.forget(tx)
		tx.PutFederationBlob(rec.ID, d)
		tx.PutFederationRound(rec.ID, done.Number, &done)
		tx.PutFederation(rec.ID, rec.Account, rec.kept(), &rec)
		tx.After(release)
	}), nil
}

// sign makes the receipt of a round.
func (r *run) sign(x *round) (receipt.Signed, error) {
	spec, err := r.plan.Spec.Digest()
	if err != nil {
		return receipt.Signed{}, err
	}
	out := &receipt.Round{
		Account: r.rec.Account, Federation: r.rec.ID, Run: r.rec.Machine.Run, Spec: spec, Round: x.Number, Attempt: x.Attempts,
		Aggregate: x.Sum, Before: r.rec.Before, After: x.Params, EndedMs: x.AtMs,
	}
	for _, i := range x.Sites {
		m := &r.rec.Members[i]
		out.Participants = append(out.Participants, receipt.Participant{Site: string(m.Node), Key: m.Digest})
	}
	slices.SortFunc(out.Participants, func(a, b receipt.Participant) int { return cmp.Compare(a.Site, b.Site) })
	if v := r.plan.Spec.Privacy; v != nil {
		out.Privacy = &receipt.Privacy{Unit: string(v.Unit), EpsilonMicro: int64(math.Ceil(x.Epsilon * 1e6)), Delta: strconv.FormatFloat(v.Delta, 'g', -1, 64)}
	}
	signed, err := r.s.cfg.Hub.SignRound(out)
	if err != nil {
		return signed, fmt.Errorf("the receipt of round %d: %w", x.Number, err)
	}
	return signed, nil
}

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
