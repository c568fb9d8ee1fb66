package fed

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"slices"

	fastjson "github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/keystream"
	"atoll/internal/secagg"
)

// Step is what a site is asked for.
type Step string

// The steps of a round, in order. Without secure aggregation there is one, Plain. Ready
// comes before them where sites train at their own pace.
const (
	StepReady   Step = "ready"
	StepKeys    Step = "keys"
	StepLot     Step = "lot"
	StepShares  Step = "shares"
	StepVector  Step = "vector"
	StepSign    Step = "survivors"
	StepOpening Step = "opening"
	StepPlain   Step = "plain"
)

// Lasting reports whether what a site does for the step is of use to it even if the hub has
// gone on: who carries orders lets it come to its end.
func (s Step) Lasting() bool { return s == StepReady }

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
	Params     []byte             `json:"-"`                // of the model: binary32, little-endian
	Roster     []int              `json:"roster,omitempty"` // the sites in the buffer, after the step Ready
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
	Site      int               `json:"site"`             // its number in the run
	Version   int               `json:"version,omitzero"` // the round on whose parameters its update was trained, in the step Ready
	Keys      *secagg.Keys      `json:"keys,omitempty"`
	Part      *secagg.Part      `json:"part,omitempty"`
	Sealed    []secagg.Sealed   `json:"sealed,omitempty"`
	Vector    []byte            `json:"-"`                  // packed: masked, or not if there are no masks
	Included  *secagg.Included  `json:"included,omitempty"` // with a masked vector
	Agreement *secagg.Agreement `json:"agreement,omitempty"`
	Opening   *secagg.Opening   `json:"opening,omitempty"`
	// Refused, if not empty, is why the site takes no part in this attempt.
	Refused string `json:"refused,omitempty"`
}

// A message on its way, or kept, is
//
//	uint32   bytes of the head, little-endian, at most MaxHead
//	head     JSON: an Order without its Params, or a Reply without its Vector
//	rest     these
//
// MaxHead has room for the shares of secagg.MaxMembers, MaxParams for what a site is shown.
const (
	MaxHead   = 64 << 20
	MaxParams = 2 << 30
)

// AppendBinary appends the order as it travels.
func (o *Order) AppendBinary(b []byte) ([]byte, error) { return appendMessage(b, o, o.Params) }

// ReadHead reads the order's head. What follows it is Params.
func (o *Order) ReadHead(r io.Reader) error { return readHead(r, o) }

// AppendBinary appends the reply as it travels.
func (r *Reply) AppendBinary(b []byte) ([]byte, error) { return appendMessage(b, r, r.Vector) }

// ReadHead reads the reply's head. What follows it is Vector.
func (r *Reply) ReadHead(from io.Reader) error { return readHead(from, r) }

func appendMessage(b []byte, head any, rest []byte) ([]byte, error) {
	h, err := fastjson.Marshal(head)
	if err != nil {
		return nil, err
	}
	if len(h) > MaxHead {
		return nil, core.Errorf(core.TooLarge, "a message with a head of %d bytes, at most %d", len(h), MaxHead)
	}
	b = slices.Grow(b, 4+len(h)+len(rest))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h)))
	return append(append(b, h...), rest...), nil
}

func readHead(r io.Reader, head any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return core.Errorf(core.Invalid, "a message without a head: %w", err)
	}
	n := int64(binary.LittleEndian.Uint32(size[:]))
	if n > MaxHead {
		return core.Errorf(core.TooLarge, "a message with a head of %d bytes, at most %d", n, MaxHead)
	}
	var b bytes.Buffer // grows with what comes, not with what was announced
	if got, err := io.CopyN(&b, r, n); err != nil {
		return core.Errorf(core.Invalid, "a message whose head ends after %d of %d bytes: %w", got, n, err)
	}
	if err := fastjson.Unmarshal(b.Bytes(), head, fastjson.RejectUnknownMembers(true)); err != nil {
		return core.Errorf(core.Invalid, "the head of a message: %w", err)
	}
	return nil
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

// ParamsDigest names a model's parameters.
func ParamsDigest(params []float32) core.Digest { return core.DigestOf(packFloats(params)) }

// PackFloats returns vectors as they are kept: of each its length as a uint32, and its
// numbers in binary32, all little-endian.
func PackFloats(vectors ...[]float32) (out []byte) {
	for _, v := range vectors {
		out = append(binary.LittleEndian.AppendUint32(out, uint32(len(v))), packFloats(v)...)
	}
	return out
}

// UnpackFloats reads what PackFloats has written, into as many vectors.
func UnpackFloats(b []byte, into ...*[]float32) error {
	for _, v := range into {
		if len(b) < 4 || uint64(len(b)-4) < 4*uint64(binary.LittleEndian.Uint32(b)) {
			return core.Errorf(core.Invalid, "kept numbers end early")
		}
		n := int(binary.LittleEndian.Uint32(b))
		x, err := unpackFloats(b[4:4+4*n], n)
		if err != nil {
			return err
		}
		if b = b[4+4*n:]; n > 0 {
			*v = x
		}
	}
	if len(b) > 0 {
		return core.Errorf(core.Invalid, "%d bytes follow kept numbers", len(b))
	}
	return nil
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
	return slices.Index([]Step{StepReady, StepKeys, StepLot, StepShares, StepVector, StepSign, StepOpening, StepPlain}, s)
}
