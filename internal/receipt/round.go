package receipt

import (
	"fmt"
	"math"

	"atoll/internal/core"
)

// Round is what a hub signs of a round of federated learning: who was in its sum, and
// which model came of which. The update of a participant is not in it, nor has the hub
// seen one.
type Round struct {
	Hub        string            `json:"hub"`
	Account    core.AccountID    `json:"account"` // whose federation it is
	Federation core.FederationID `json:"federation"`
	// Run names the specification with all sites that may take part, and Spec the
	// specification alone.
	Run     core.Digest `json:"run"`
	Spec    core.Digest `json:"spec"`
	Round   int         `json:"round"` // from 1
	Attempt int         `json:"attempt"`
	// Participants are those whose updates are in the sum, in the order of their names.
	Participants []Participant `json:"participants"`
	// Aggregate is the digest of the sum, Before and After are those of the model's
	// parameters.
	Aggregate core.Digest `json:"aggregate"`
	Before    core.Digest `json:"before"`
	After     core.Digest `json:"after"`
	Privacy   *Privacy    `json:"privacy,omitempty"`
	EndedMs   int64       `json:"ended_ms"` // since 1970, by the hub's clock
}

// Participant is a site whose update is in a sum.
type Participant struct {
	Site string      `json:"site"`
	Key  core.Digest `json:"key"` // of its public key
}

// Privacy is what has been told of one unit of the participants' data by the end of a
// round: at most EpsilonMicro millionths, but for a chance of Delta.
type Privacy struct {
	Unit         string `json:"unit"`
	EpsilonMicro int64  `json:"epsilon_micro"`
	Delta        string `json:"delta"` // in decimal
}

// MaxParticipants bounds those of a statement.
const MaxParticipants = 4096

// Round signs what has come of a round.
func (s *Signer) Round(r *Round) (Signed, error) {
	payload, err := encode(RoundType, r)
	if err != nil {
		return Signed{}, err
	}
	return s.wrap(payload)
}

// name is that of the statement's subject.
func (r *Round) name() string { return fmt.Sprintf("%s/%d", r.Federation, r.Round) }

func (r *Round) claims() []claim { return []claim{{name: r.name(), result: r.After}} }

func (r *Round) check() error {
	switch {
	case r.Federation <= 0 || r.Round < 1 || r.Attempt < 1:
		return fault("a federation must be an ID, round and attempt are counted from 1")
	case r.Run.IsZero() || r.Spec.IsZero() || r.Aggregate.IsZero() || r.Before.IsZero() || r.After.IsZero():
		return fault("digest of run, specification, sum or model is missing")
	case len(r.Participants) == 0 || len(r.Participants) > MaxParticipants:
		return fault("%d participants, want 1 to %d", len(r.Participants), MaxParticipants)
	case r.EndedMs < 0:
		return fault("a time is negative")
	}
	for i, p := range r.Participants {
		if err := checkTexts(text{"participants.site", p.Site, false}); err != nil {
			return err
		}
		if p.Key.IsZero() || i > 0 && r.Participants[i-1].Site >= p.Site {
			return fault("participants[%d] has no key, or is not in the order of names", i)
		}
	}
	if v := r.Privacy; v != nil {
		if v.EpsilonMicro < 0 || v.EpsilonMicro > math.MaxInt32*int64(1e6) {
			return fault("ε of %d millionths", v.EpsilonMicro)
		}
		if err := checkTexts(text{"privacy.unit", v.Unit, false}, text{"privacy.delta", v.Delta, false}); err != nil {
			return err
		}
	}
	return checkTexts(text{"hub", r.Hub, false}, text{"account", string(r.Account), false})
}
