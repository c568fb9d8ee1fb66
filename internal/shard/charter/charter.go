// Package charter is what is said of a line, a model whose layers several nodes hold
// (see package shard): the hub's word that it may be, and the head's word on how it
// goes.
//
// A charter is sealed with the hub's key and sent to every node that it names. A node
// holds layers for the head that a charter of its own names, and for nobody else, and
// until it expires: the hub says it again every few seconds for as long as it wants
// the line.
package charter

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/peer"
)

// PayloadType is the DSSE payload type under which a hub seals a Charter.
const PayloadType = "application/vnd.atoll.line+json"

// Bounds of a charter.
const (
	MaxStages = 64
	MaxSpares = 64
	maxWord   = 128
)

// ID names a line. Another is made for each line.
type ID [16]byte

// IsZero reports whether it names none.
func (id ID) IsZero() bool { return id == ID{} }

// String is 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short is for logs.
func (id ID) Short() string { return id.String()[:8] }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) != 2*len(id) {
		return core.Errorf(core.Invalid, "a line's ID of %d characters: want %d", len(b), 2*len(id))
	}
	if _, err := hex.Decode(id[:], b); err != nil {
		return core.Errorf(core.Invalid, "a line's ID: %w", err)
	}
	return nil
}

// Charter says who may hold which layers of a model, for whom.
type Charter struct {
	Hub     string         `json:"hub"` // the sealing hub's ID
	Line    ID             `json:"line"`
	Service string         `json:"service"`
	Engine  string         `json:"engine"`
	Model   core.Digest    `json:"model"`
	Size    int64          `json:"size"` // bytes of the model's file
	Profile string         `json:"profile"`
	Account core.AccountID `json:"account"` // whose service it is
	// Stages hold the layers, in order. The first is the head, which answers.
	Stages []Stage `json:"stages"`
	// Spares may take the place of any stage but the head.
	Spares []peer.Address `json:"spares,omitempty"`
	// TTLMs after it has come the charter loses its force. A charter that was sealed
	// before one that has come already, by the hub's clock, is not heard.
	SealedMs int64 `json:"sealed_ms"`
	TTLMs    int64 `json:"ttl_ms"`
}

// Over is the TTLMs of a charter that ends its line.
const Over = 1

// Stage is one node's place.
type Stage struct {
	Node  peer.Address `json:"node"`
	First int          `json:"first"` // layers First ≤ i < Last
	Last  int          `json:"last"`
}

// Seal signs a charter for those whom it names.
func Seal(c *Charter, key *identity.Key) (identity.Sealed, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return identity.Seal(PayloadType, payload, key)
}

// Open checks a sealed charter. Its errors are identity.Open's, and core.Invalid for
// one that no hub should seal.
func Open(sealed []byte, hub identity.PublicKey) (*Charter, error) {
	payload, err := identity.Open(sealed, PayloadType, hub)
	if err != nil {
		return nil, err
	}
	return parse(payload)
}

func parse(payload []byte) (*Charter, error) {
	c := new(Charter)
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, core.Errorf(core.Invalid, "charter: %w", err)
	}
	return c, c.check()
}

func (c *Charter) check() error {
	if c.Line.IsZero() || c.Model.IsZero() || c.Size < 1 || c.TTLMs < 1 || max(len(c.Hub), len(c.Service), len(c.Engine), len(c.Profile), len(c.Account)) > maxWord {
		return core.Errorf(core.Invalid, "charter: line, model, size or time are missing, or a name is too long")
	}
	if len(c.Stages) < 2 || len(c.Stages) > MaxStages || len(c.Spares) > MaxSpares {
		return core.Errorf(core.Invalid, "charter: %d stages and %d spares: want 2 to %d, and at most %d", len(c.Stages), len(c.Spares), MaxStages, MaxSpares)
	}
	next := 0
	for _, s := range c.Stages {
		if s.First != next || s.Last <= s.First {
			return core.Errorf(core.Invalid, "charter: layers %d to %d after those up to %d", s.First, s.Last, next)
		}
		next = s.Last
	}
	return nil
}

// Share is about how many bytes of the model's file a node needs: those of its layers, or
// where it has none, of the most that it may be asked to hold.
func (c *Charter) Share(node core.NodeID) int64 {
	all, most := c.Stages[len(c.Stages)-1].Last, 0
	for i, s := range c.Stages {
		if s.Node.Node == node {
			most = s.Last - s.First
			break
		}
		if i > 0 { // nobody takes the head's place
			most = max(most, s.Last-s.First)
		}
	}
	return c.Size / int64(all) * int64(most)
}

// Head is the node that answers.
func (c *Charter) Head() peer.Address { return c.Stages[0].Node }

// Nodes lists all whom the charter names: stages first.
func (c *Charter) Nodes() (out []peer.Address) {
	for _, s := range c.Stages {
		out = append(out, s.Node)
	}
	return append(out, c.Spares...)
}

// TTL is for how long a charter that has just come is good.
func (c *Charter) TTL() time.Duration { return time.Duration(c.TTLMs) * time.Millisecond }

// Allow says whether a node may hold layers First ≤ i < Last for a head: nil, or a
// core.Forbidden.
func (c *Charter) Allow(self core.NodeID, head peer.Peer, first, last int) error {
	if h := c.Head(); head != (peer.Peer{Node: h.Node, Key: h.Key}) {
		return core.Errorf(core.Forbidden, "line %s: %s is not its head", c.Line.Short(), head.Node)
	}
	at := slices.IndexFunc(c.Stages, func(s Stage) bool { return s.First == first && s.Last == last })
	spare := slices.ContainsFunc(c.Spares, func(a peer.Address) bool { return a.Node == self })
	if at > 0 && (spare || c.Stages[at].Node.Node == self) {
		return nil
	}
	return core.Errorf(core.Forbidden, "line %s: layers %d to %d are not for %s", c.Line.Short(), first, last-1, self)
}

// State is how a line goes, as its head tells the hub.
type State struct {
	Line    ID          `json:"line"`
	Service string      `json:"service"`
	Model   core.Digest `json:"model"`
	// Ready means that it answers. Trouble, if not empty, is why it never will again.
	Ready   bool   `json:"ready,omitempty"`
	Trouble string `json:"trouble,omitempty"`
	Stages  []Held `json:"stages"` // who holds what now
	// Since the line was made: stages that others have taken the place of, and tokens
	// drawn.
	Replaced int   `json:"replaced,omitempty"`
	Tokens   int64 `json:"tokens,omitempty"`
	// Rate is of the last seconds: tokens drawn in one, by a thousand.
	Rate int64 `json:"rate,omitempty"`
	// Answering is how many answers are under way.
	Answering int `json:"answering,omitempty"`
}

// Held is a stage that a node holds.
type Held struct {
	Node  core.NodeID `json:"node"`
	First int         `json:"first"`
	Last  int         `json:"last"`
}

// Same reports whether nothing of note differs: not how many tokens were drawn.
func (s *State) Same(o *State) bool {
	return s.Line == o.Line && s.Ready == o.Ready && s.Trouble == o.Trouble && s.Replaced == o.Replaced && slices.Equal(s.Stages, o.Stages)
}

// Check refuses what no honest head says of a line.
func (s *State) Check() error {
	if s.Line.IsZero() || max(len(s.Service), len(s.Trouble)) > 1000 || len(s.Stages) > MaxStages {
		return fmt.Errorf("a line's state that is too long, or of no line")
	}
	if min(int64(s.Replaced), s.Tokens, s.Rate, int64(s.Answering)) < 0 {
		return fmt.Errorf("a line's state with negative numbers")
	}
	for _, h := range s.Stages {
		if len(h.Node) > maxWord || h.First < 0 || h.Last <= h.First {
			return fmt.Errorf("a line's state with layers %d to %d", h.First, h.Last)
		}
	}
	return nil
}
