package server

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	fastjson "github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/identity"
	"atoll/internal/request"
	"atoll/internal/store"
)

func keyDigest(pem string) (core.Digest, error) {
	key, err := identity.ParsePublicKey(pem)
	if err != nil {
		return core.Digest{}, err
	}
	return key.Digest(), nil
}

// Roster says who would take part in a federation now, and why others would not.
func (s *Server) Roster(ctx context.Context, _ request.Viewer, spec []byte) (api.FederationRoster, error) {
	f, err := fed.Parse(spec)
	if err != nil {
		return api.FederationRoster{}, err
	}
	out, _, err := s.roster(ctx, f)
	return out, err
}

// Begin starts a federation over the nodes that have its dataset now.
func (s *Server) Begin(ctx context.Context, v request.Viewer, body []byte) (out api.Federation, err error) {
	spec, err := fed.Parse(body)
	if err != nil {
		return out, err
	}
	id, err := s.begin(ctx, v.Account, spec, nil)
	if err != nil {
		return out, err
	}
	return s.Federation(ctx, v, id)
}

// begin starts a federation, durably, in place of a previous run of it, if there is one.
func (s *Server) begin(ctx context.Context, account core.AccountID, spec *fed.Spec, previous *record) (core.FederationID, error) {
	roster, members, err := s.roster(ctx, spec)
	if err != nil {
		return 0, err
	}
	if len(members) < roster.Fewest {
		return 0, tooFew(&roster, spec.Dataset)
	}
	rec := record{ID: s.cfg.Hub.NewFederationID(), Account: account, State: api.FederationRunning, Members: members, CreatedMs: s.cfg.Now().UnixMilli(), Time: 1}
	if previous != nil {
		rec.Previous, rec.Time = previous.ID, previous.Time+1
	}
	if rec.Spec, err = fastjson.Marshal(spec, fastjson.Deterministic(true)); err != nil {
		return 0, err
	}
	r, err := s.newRun(rec)
	if err != nil {
		return 0, err
	}
	release, err := s.makeMachine(ctx, r)
	if err != nil {
		return 0, err
	}
	defer release()
	durable, err := s.enter(r, previous)
	if err != nil {
		return 0, err
	}
	return rec.ID, s.await(ctx, durable)
}

// makeMachine has the first round begin. release is to be called once the record, which
// names the parameters, is durable.
func (s *Server) makeMachine(ctx context.Context, r *run) (release func(), err error) {
	first, err := s.first(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.machine, err = fed.NewMachine(r.plan, r.members, first); err != nil {
		return nil, err
	}
	state, now := r.machine.State(), s.cfg.Now().Truncate(time.Millisecond)
	if _, err := r.machine.Begin(now); err != nil {
		return nil, err
	}
	r.renew()
	d, _, release, err := s.cfg.Blobs.PutPinned(ctx, bytes.NewReader(weights(state)), core.Digest{}, math.MaxInt64)
	r.clock = clock{at: now, set: now}
	r.rec.Machine, r.rec.Weights, r.rec.Before, r.rec.BeganMs = small(state), d, fed.ParamsDigest(state.Params), now.UnixMilli()
	return release, err
}

// maxEarlier is among how many of an account's newest federations an earlier model is
// looked for.
const maxEarlier = 1000

// first is the state to begin with where the Spec names an earlier model: that of another
// federation of the same account; else nil.
func (s *Server) first(ctx context.Context, r *run) (*fed.State, error) {
	want := r.plan.Spec.StartFrom
	if want.IsZero() {
		return nil, nil
	}
	rows, err := store.Federations[record](ctx, s.cfg.Store, r.account, math.MaxInt64, maxEarlier)
	if err != nil {
		return nil, err
	}
	for _, rec := range rows {
		if rec.Before != want {
			continue
		}
		b, err := s.readBlob(rec.Weights)
		if err != nil {
			return nil, err
		}
		earlier, err := rec.Machine.whole(b)
		if err != nil {
			return nil, err
		}
		return r.plan.StateFrom(r.members, earlier.Params)
	}
	return nil, core.Errorf(core.NotFound, "no federation of yours has come to the parameters %s", want).At("start_from").WithHint("see params_digest in: atoll fed show RUN --json")
}

// enter takes a federation among those that go on, unless its account has too many, and
// has it written.
func (s *Server) enter(r *run, previous *record) (durable <-chan struct{}, err error) {
	r.mu.Lock() // no order leaves before
	defer r.mu.Unlock()
	if err := s.admit(r); err != nil {
		return nil, err
	}
	rec := r.rec
	return r.write(func(tx *store.Tx, _ logger) {
		tx.PutFederation(rec.ID, rec.Account, true, &rec)
		tx.PutFederationBlob(rec.ID, rec.Weights)
		if previous != nil {
			over := *previous
			over.NextMs = 0
			tx.PutFederation(over.ID, over.Account, false, &over)
		}
	}), nil
}

func (s *Server) admit(r *run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.due)
	for _, other := range s.runs {
		if other.account == r.account {
			n++
		}
	}
	for _, rec := range s.due {
		if rec.Account != r.account || rec.ID == r.rec.Previous {
			n--
		}
	}
	if n >= maxOpen {
		return core.Errorf(core.Throttled, "account %s has %d federations that go on, which is as many as it may have", r.account, n).WithHint("stop one, or wait for its end")
	}
	s.runs[r.id] = r
	return nil
}

func tooFew(roster *api.FederationRoster, dataset string) error {
	var why []string
	for i, x := range roster.Excluded {
		if i == 5 {
			why = append(why, fmt.Sprintf("and %d more", len(roster.Excluded)-i))
			break
		}
		why = append(why, fmt.Sprintf("%s: %s", x.Node, x.Why))
	}
	others := ""
	if len(why) > 0 {
		others = " (" + strings.Join(why, "; ") + ")"
	}
	return core.Errorf(core.Unavailable, "%d nodes can take part with dataset %s: it takes %d%s", len(roster.Sites), dataset, roster.Fewest, others).
		WithHint("owners offer a dataset with: atoll dataset add FILE --name " + dataset + " --schema SCHEMA --dir NODE")
}

// await returns once something is durable.
func (s *Server) await(ctx context.Context, durable <-chan struct{}) error {
	select {
	case <-durable:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.cfg.Store.Stopped():
		return core.Errorf(core.Unavailable, "the hub is stopping").WithHint("try again in a moment")
	}
}
