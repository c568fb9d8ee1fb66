package fed

import (
	"encoding/binary"
	"math"
	"slices"

	"atoll/internal/core"
	"atoll/internal/keystream"
	"atoll/internal/secagg"
)

// Step is what a site is asked for.
type Step string

// The steps of a round, in order. Without secure aggregation there is one, Plain.
const (
	StepKeys    Step = "keys"
	StepLot     Step = "lot"
	StepShares  Step = "shares"
	StepVector  Step = "vector"
	StepSign    Step = "survivors"
	StepOpening Step = "opening"
	StepPlain   Step = "plain"
)

// At says to which moment of a run a message belongs.
type At struct {
	Run     core.Digest `json:"run"`   // of the Spec and its sites
	Round   int         `json:"round"` // from 1; one more than Spec.Rounds only measures
	Attempt int         `json:"attempt"`
	Step    Step        `json:"step"`
}

// round names the round, whatever the attempt.
func (a At) round() core.Digest { return At{Run: a.Run, Round: a.Round}.id() }

// id names an attempt at a round: masks and noise are made for it alone.
func (a At) id() core.Digest {
	b := append([]byte("atoll federation v1\n"), a.Run[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Round))
	return core.DigestOf(binary.LittleEndian.AppendUint64(b, uint64(a.Attempt)))
}

// Order is what the Machine asks a site for. It repeats what the step needs, so that a
// site needs no memory of earlier orders but its journal.
type Order struct {
	At
	Params     []byte             `json:"params,omitempty"` // of the model: binary32, little-endian
	Keys       []secagg.Keys      `json:"keys,omitempty"`
	Parts      []secagg.Part      `json:"parts,omitempty"`
	Inbox      []secagg.Sealed    `json:"inbox,omitempty"`
	Survivors  []int              `json:"survivors,omitempty"`
	Included   []secagg.Included  `json:"included,omitempty"`
	Agreements []secagg.Agreement `json:"agreements,omitempty"`
}

// Reply is a site's answer to an Order.
type Reply struct {
	At
	Site      int               `json:"site"` // its number in the run
	Keys      *secagg.Keys      `json:"keys,omitempty"`
	Part      *secagg.Part      `json:"part,omitempty"`
	Sealed    []secagg.Sealed   `json:"sealed,omitempty"`
	Vector    []byte            `json:"vector,omitempty"`   // packed: masked, or not if there are no masks
	Included  *secagg.Included  `json:"included,omitempty"` // with a masked vector
	Agreement *secagg.Agreement `json:"agreement,omitempty"`
	Opening   *secagg.Opening   `json:"opening,omitempty"`
	// Refused, if not empty, is why the site takes no part in this attempt.
	Refused string `json:"refused,omitempty"`
}

// seed is that of a round's rotation: it follows from keys that members have made fresh,
// so that nobody knew it when the round began.
func seed(id core.Digest, keys []secagg.Keys) keystream.Seed {
	b := append([]byte("atoll federation v1 rotation\n"), id[:]...)
	for i := range keys {
		b = append(append(b, keys[i].Box...), keys[i].Mask...)
	}
	return keystream.Seed(core.DigestOf(b))
}

func packFloats(x []float32) []byte {
	out := make([]byte, 0, 4*len(x))
	for _, v := range x {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

func unpackFloats(b []byte, n int) ([]float32, error) {
	if len(b) != 4*n {
		return nil, core.Errorf(core.Invalid, "parameters of %d bytes: want %d", len(b), 4*n)
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		if v := float64(out[i]); math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, core.Errorf(core.Invalid, "parameter %d is %v", i, out[i])
		}
	}
	return out, nil
}

// StepNumber is a step's place in a round; -1: there is no such step.
func StepNumber(s Step) int {
	return slices.Index([]Step{StepKeys, StepLot, StepShares, StepVector, StepSign, StepOpening, StepPlain}, s)
}
