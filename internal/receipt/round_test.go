package receipt

import (
	"errors"
	"strings"
	"testing"

	"atoll/internal/core"
)

func exampleRound() *Round {
	d := func(s string) core.Digest { return core.DigestOf([]byte(s)) }
	return &Round{
		Hub: "hub-1", Account: "ann", Federation: 1, Run: d("run"), Spec: d("spec"), Round: 2, Attempt: 1,
		Participants: []Participant{{"bank-a", d("a")}, {"bank-b", d("b")}, {"bank-c", d("c")}},
		Aggregate:    d("sum"), Before: d("before"), After: d("after"), Privacy: &Privacy{Unit: "customer", EpsilonMicro: 1_500_000, Delta: "1e-06"}, EndedMs: 1,
	}
}

// A round's statement is read back as it was signed, its subject is the model that came of
// it, and it is neither an execution nor a verdict.
func TestRound(t *testing.T) {
	t.Parallel()
	s := fixedSigner(t, 1)
	signed := must[Signed](t)(s.Round(exampleRound()))
	o, _, err := s.Key().open(signed.Envelope)
	if err != nil || o.round == nil || o.round.After != exampleRound().After || len(o.round.Participants) != 3 {
		t.Fatalf("%+v, %v", o, err)
	}
	if c := o.predicate().claims(); len(c) != 1 || c[0].name != core.FederationID(1).String()+"/2" || c[0].result != exampleRound().After {
		t.Errorf("%+v", c)
	}
	if _, err := ParseVerdict(signed.Envelope); !errors.Is(err, ErrType) {
		t.Error(err)
	}
	if _, err := ParseExecution(signed.Envelope); !errors.Is(err, ErrType) {
		t.Error(err)
	}
}

// What no round can be is not signed.
func TestRoundRefusals(t *testing.T) {
	t.Parallel()
	for want, edit := range map[string]func(*Round){
		"must be an ID":            func(r *Round) { r.Federation = 0 },
		"counted from 1":           func(r *Round) { r.Attempt = 0 },
		"digest of run":            func(r *Round) { r.Aggregate = core.Digest{} },
		"0 participants":           func(r *Round) { r.Participants = nil },
		"4097 participants":        func(r *Round) { r.Participants = make([]Participant, MaxParticipants+1) },
		"participants[1] has no":   func(r *Round) { r.Participants[1].Key = core.Digest{} },
		"in the order of names":    func(r *Round) { r.Participants[2].Site = "bank-b" },
		"participants.site is":     func(r *Round) { r.Participants[0].Site = "" },
		"ε of -1":                  func(r *Round) { r.Privacy.EpsilonMicro = -1 },
		"privacy.delta is missing": func(r *Round) { r.Privacy.Delta = "" },
		"hub is missing":           func(r *Round) { r.Hub = "" },
		"a time is negative":       func(r *Round) { r.EndedMs = -1 },
		"account has 257 bytes":    func(r *Round) { r.Account = core.AccountID(strings.Repeat("a", 257)) },
	} {
		r := exampleRound()
		edit(r)
		if _, err := fixedSigner(t, 1).Round(r); !errors.Is(err, ErrPayload) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
