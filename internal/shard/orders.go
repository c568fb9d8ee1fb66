package shard

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/llm"
	"atoll/internal/peer"
	"atoll/internal/shard/charter"
)

// Protocols of peer streams: what the head orders, and the rows.
const (
	ProtocolOrders = "atoll-line/1"
	ProtocolRows   = "atoll-rows/1"
)

// On a stream of orders the head asks and the stage answers, one after the other:
// each a uint32, little-endian, of so many bytes of JSON.
const maxOrder = 256 << 10

// Seat is what a member of a line is to hold.
type Seat struct {
	Line    LineID      `json:"line"`
	Model   core.Digest `json:"model"`
	Profile llm.Profile `json:"profile"`
	First   int         `json:"first"` // layers First ≤ i < Last
	Last    int         `json:"last"`
	Pages   int         `json:"pages"` // of keys and values
	Batch   int         `json:"batch"` // positions computed at once
	// Team are all who compute the layers together, their leader first; none: one node
	// does. Member is which of them the seat is for: of the leader the head asks it, of
	// the others the leader.
	Team   []Mate `json:"team,omitempty"`
	Member int    `json:"member,omitempty"`
}

// Options are what the seat asks of llm.Load.
func (s *Seat) Options() llm.Options {
	o := llm.Options{Profile: s.Profile, First: s.First, Last: s.Last}
	for _, m := range s.Team {
		o.Share.Speeds = append(o.Share.Speeds, m.Speed)
	}
	o.Share.Member = s.Member
	return o
}

// Claim is what the seat asks of the charter.
func (s *Seat) Claim() *charter.Claim {
	return &charter.Claim{First: s.First, Last: s.Last, Team: s.Team, Member: s.Member}
}

// order is one request of the head; exactly one field is set.
type order struct {
	Sit    *Seat   `json:"sit,omitempty"`    // load layers
	Assign *assign `json:"assign,omitempty"` // a new epoch
	Report bool    `json:"report,omitempty"` // say how it goes
	// Account asks what the stage has done for a sequence, up to so many positions.
	Account *account `json:"account,omitempty"`
}

type account struct {
	Sequence  uint32 `json:"sequence"`
	Positions int    `json:"positions"`
}

type assign struct {
	Epoch uint32       `json:"epoch"`
	Place uint16       `json:"place"`
	Prev  peer.Peer    `json:"prev"`
	Next  peer.Address `json:"next"`
	Live  []uint32     `json:"live"`
}

// report answers an order.
type report struct {
	Error string `json:"error,omitempty"`
	// Computed counts positions that the stage has computed since it sat down, and
	// Waiting those that have come and are not computed. Trouble is why nothing goes
	// to who is behind.
	Computed int64  `json:"computed"`
	Waiting  int64  `json:"waiting"`
	Trouble  string `json:"trouble,omitempty"`
	// Held counts the positions that it has computed of the sequences under way.
	Held int64 `json:"held"`
	// StepMs is how long the last step took, WaitMs how long the one that runs has taken
	// so far, and the others how long the quickest took of about as many positions.
	StepMs      int64 `json:"step_ms"`
	StepLeastMs int64 `json:"step_least_ms"`
	WaitMs      int64 `json:"wait_ms"`
	WaitLeastMs int64 `json:"wait_least_ms"`
	// Statement answers Account: a sealed record.Statement.
	Statement []byte `json:"statement,omitempty"`
}

func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxOrder {
		return fmt.Errorf("shard: an order of %d bytes", len(b))
	}
	_, err = w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func readJSON(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n == 0 || n > maxOrder {
		return malformed("an order of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(b, v, json.RejectUnknownMembers(true)); err != nil {
		return malformed("an order: %v", err)
	}
	return nil
}
