package fed

import (
	"encoding/binary"
	"math"

	"atoll/internal/codec"
	"atoll/internal/core"
)

// Compress has sites send less of an update.
type Compress struct {
	// Keep is the share of its values that are sent, over 0 and up to 1.
	//
	// Under masks the keys of the round say which, the same at all sites, and a sum of them
	// stands for the whole: it is right on average (codec.Grid). Without masks each site
	// sends its largest, in a byte each, and adds what its message lacks to its next update
	// (codec.Compress); with 1 that is the rounding alone.
	Keep float64 `json:"keep"`
}

func (p *Plan) checkCompress() error {
	c := p.Spec.Compress
	switch {
	case c == nil:
		return nil
	case !(c.Keep > 0 && c.Keep <= 1):
		return core.Errorf(core.Invalid, "%g of the values are sent: want a share over 0 and up to 1", c.Keep).At("compress.keep")
	case p.Spec.Robust != nil:
		return core.Errorf(core.Invalid, "a robust rule compares the values that groups send, and with this each would send others").At("compress")
	}
	return nil
}

// keep is how many values of an update are sent, of those that there are.
func (p *Plan) keep(of int) int {
	if p.Spec.Compress == nil {
		return of
	}
	return min(int(math.Ceil(p.Spec.Compress.Keep*float64(of))), of)
}

// Feeds reports whether sites add to an update what the one before has lacked: they need
// SiteConfig.Rest.
func (p *Plan) Feeds() bool { return p.Spec.Compress != nil && p.Spec.Secure.Off }

// Slot keeps one value. Keep returns once it is durable in place of the one before.
type Slot interface {
	Kept() ([]byte, error) // nil: nothing yet
	Keep(value []byte) error
}

// MemorySlot is a Slot for tests and simulations.
type MemorySlot struct{ value []byte }

// Kept implements Slot.
func (s *MemorySlot) Kept() ([]byte, error) { return s.value, nil }

// Keep implements Slot.
func (s *MemorySlot) Keep(value []byte) error {
	s.value = value
	return nil
}

// rest is what SiteConfig.Rest has: the newest vector that was sent, and what it lacked.
// So whatever is asked for again in a round is sent again, and what a crash interrupts is
// added to the next update once.
type rest struct {
	round  int
	lacks  []float32
	vector []byte
}

func (s *Site) rest() (out rest, err error) {
	b, err := s.c.Rest.Kept()
	if err != nil || b == nil {
		return out, err
	}
	const head = 16 // the round, and the bytes of what it lacks
	if len(b) < head || uint64(len(b)-head) < binary.LittleEndian.Uint64(b[8:]) {
		return out, core.Errorf(core.Internal, "what the last update lacked was kept, and ends early")
	}
	end := head + binary.LittleEndian.Uint64(b[8:])
	out.round, out.vector = int(binary.LittleEndian.Uint64(b)), b[end:]
	return out, UnpackFloats(b[head:end], &out.lacks)
}

func (s *Site) keepRest(r rest) error {
	lacks := PackFloats(r.lacks)
	b := binary.LittleEndian.AppendUint64(nil, uint64(r.round))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(lacks)))
	return s.c.Rest.Keep(append(append(b, lacks...), r.vector...))
}

// sentBefore is the vector that the site has sent in this round, if it is kept.
func (s *Site) sentBefore(round int) ([]byte, error) {
	if !s.c.Plan.Feeds() || round > s.c.Plan.Spec.Rounds {
		return nil, nil
	}
	r, err := s.rest()
	switch {
	case err != nil || r.round < round:
		return nil, err
	case r.round > round:
		return nil, core.Errorf(core.Conflict, "this site has sent its update of round %d: round %d is over", r.round, round)
	}
	return r.vector, nil
}

// plainVector is what is sent of an update without masks.
func (s *Site) plainVector(round int, update []float32, c Counts) ([]byte, error) {
	p := s.c.Plan
	if !p.Feeds() {
		return p.appendPlain(update, c), nil
	}
	trains := round <= p.Spec.Rounds
	var last rest
	var err error
	if trains {
		if last, err = s.rest(); err != nil {
			return nil, err
		}
	}
	message, lacks, err := codec.Compress(update, last.lacks, p.keep(len(update)))
	if err != nil {
		return nil, err
	}
	vector := c.appendBytes(message)
	if trains {
		err = s.keepRest(rest{round, lacks, vector})
	}
	return vector, err
}

// readSent reads what plainVector has made.
func (p *Plan) readSent(b []byte) (update []float32, c Counts, err error) {
	if !p.Feeds() {
		return p.readPlain(b)
	}
	if c, b, err = cutCounts(b); err != nil {
		return nil, c, err
	}
	update, err = codec.Decompress(b, p.Grid.Shape().Dim)
	return update, c, err
}
