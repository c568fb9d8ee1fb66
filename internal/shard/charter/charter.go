// Package charter is what is said of a line, a model whose layers several nodes hold
// (see package shard): the hub's word that it may be, and the head's word on how it
// goes.
//
// A charter is sealed with the hub's key and sent to every node that it names. A node
// holds layers for the head that a charter of its own names, or its share of layers for
// the leader of the team in which it names the node, and for nobody else, and until it
// expires: the hub says it again every few seconds for as long as it wants
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
	MaxTeam   = 8 // nodes that compute a stage together
	MaxSpeed  = 1 << 20
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
	// Team are all who compute the stage together, Node first; none: Node does alone.
	Team []Mate `json:"team,omitempty"`
}

// Mate is a node of a team.
type Mate struct {
	Node  peer.Address `json:"node"`
	Speed int          `json:"speed"` // beside the others': see llm.Split
}

// Held is the stage as its head tells of it once it is held.
func (s *Stage) Held() Held {
	h := Held{Node: s.Node.Node, First: s.First, Last: s.Last}
	for _, m := range s.Team {
		h.Team = append(h.Team, Member{m.Node.Node, m.Speed})
	}
	return h
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
	for i, s := range c.Stages {
		if s.First != next || s.Last <= s.First {
			return core.Errorf(core.Invalid, "charter: layers %d to %d after those up to %d", s.First, s.Last, next)
		}
		next = s.Last
		if err := s.checkTeam(i == 0); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stage) checkTeam(head bool) error {
	if len(s.Team) == 0 {
		return nil
	}
	if head || len(s.Team) == 1 || len(s.Team) > MaxTeam || s.Team[0].Node.Node != s.Node.Node {
		return core.Errorf(core.Invalid, "charter: a team of %d for layers %d to %d: want 2 to %d, led by who has the place, and none at the head", len(s.Team), s.First, s.Last-1, MaxTeam)
	}
	for _, m := range s.Team {
		if m.Speed < 1 || m.Speed > MaxSpeed {
			return core.Errorf(core.Invalid, "charter: %s has a speed of %d: want 1 to %d", m.Node.Node, m.Speed, MaxSpeed)
		}
	}
	return nil
}

// Share is about how many bytes of the model's file a node needs: those of its layers, or
// where it has none, of the most that it may be asked to hold.
func (c *Charter) Share(node core.NodeID) int64 {
	all, most := c.Stages[len(c.Stages)-1].Last, 0
	for i, s := range c.Stages {
		if speed, of := s.speed(node); of > 0 {
			return c.Size / int64(all) * int64(s.Last-s.First) / int64(of) * int64(speed)
		}
		if i > 0 { // nobody takes the head's place
			most = max(most, s.Last-s.First)
		}
	}
	return c.Size / int64(all) * int64(most)
}

// speed is a node's at a stage, and that of all who compute it; 0 of 0 if it is not one.
func (s *Stage) speed(node core.NodeID) (speed, of int) {
	if len(s.Team) == 0 && s.Node.Node == node {
		return 1, 1
	}
	for _, m := range s.Team {
		if of += m.Speed; m.Node.Node == node {
			speed = m.Speed
		}
	}
	if speed == 0 {
		return 0, 0
	}
	return speed, of
}

// Head is the node that answers.
func (c *Charter) Head() peer.Address { return c.Stages[0].Node }

// Nodes lists all whom the charter names: stages first, then who follows in their teams.
func (c *Charter) Nodes() (out []peer.Address) {
	for _, s := range c.Stages {
		out = append(out, s.Node)
	}
	for _, s := range c.Stages {
		for _, m := range s.Team[min(1, len(s.Team)):] {
			out = append(out, m.Node)
		}
	}
	return append(out, c.Spares...)
}

// TTL is for how long a charter that has just come is good.
func (c *Charter) TTL() time.Duration { return time.Duration(c.TTLMs) * time.Millisecond }

// Claim is what somebody asks of a node: layers First ≤ i < Last, as that member of a team,
// or with no team alone.
type Claim struct {
	First, Last int
	Team        []Mate
	Member      int
}

// Allow says whether a node may hold layers for who asks: nil, or a core.Forbidden. A head
// asks it of stages and spares, and a team's leader of those who follow it.
func (c *Charter) Allow(self core.NodeID, from peer.Peer, q *Claim) error {
	no := func(format string, args ...any) error {
		return core.Errorf(core.Forbidden, "line %s: %s", c.Line.Short(), fmt.Sprintf(format, args...))
	}
	is := func(a peer.Address) bool { return from == peer.Peer{Node: a.Node, Key: a.Key} }
	at := slices.IndexFunc(c.Stages, func(s Stage) bool { return s.First == q.First && s.Last == q.Last })
	switch {
	case q.Member == 0 && !is(c.Head()):
		return no("%s is not its head", from.Node)
	case at < 1:
		return no("layers %d to %d are for nobody", q.First, q.Last-1)
	}
	s := &c.Stages[at]
	alone := len(q.Team) == 0 && q.Member == 0
	switch {
	case alone && slices.ContainsFunc(c.Spares, func(a peer.Address) bool { return a.Node == self }):
		return nil
	case alone && len(s.Team) > 0 || !slices.EqualFunc(s.Team, q.Team, Mate.same):
		return no("layers %d to %d are not for this team", q.First, q.Last-1)
	case q.Member != 0 && (q.Member < 0 || q.Member >= len(s.Team) || s.Team[q.Member].Node.Node != self):
		return no("%s is not member %d of the team for layers %d to %d", self, q.Member, q.First, q.Last-1)
	case q.Member != 0 && !is(s.Node):
		return no("%s does not lead the team for layers %d to %d", from.Node, q.First, q.Last-1)
	case q.Member == 0 && s.Node.Node != self:
		return no("layers %d to %d are not for %s", q.First, q.Last-1, self)
	}
	return nil
}

// same compares all but where they can be dialled.
func (m Mate) same(o Mate) bool {
	return m.Node.Node == o.Node.Node && m.Node.Key == o.Node.Key && m.Speed == o.Speed
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
	// Team are all who compute it together, Node first; none: Node does alone.
	Team []Member `json:"team,omitempty"`
}

// Member is a node of a team.
type Member struct {
	Node  core.NodeID `json:"node"`
	Speed int         `json:"speed"`
}

// Nodes are all who compute the stage.
func (h *Held) Nodes() (out []core.NodeID) {
	if len(h.Team) == 0 {
		return []core.NodeID{h.Node}
	}
	for _, m := range h.Team {
		out = append(out, m.Node)
	}
	return out
}

func (h Held) same(o Held) bool {
	return h.Node == o.Node && h.First == o.First && h.Last == o.Last && slices.Equal(h.Team, o.Team)
}

// Same reports whether nothing of note differs: not how many tokens were drawn.
func (s *State) Same(o *State) bool {
	return s.Line == o.Line && s.Ready == o.Ready && s.Trouble == o.Trouble && s.Replaced == o.Replaced && slices.EqualFunc(s.Stages, o.Stages, Held.same)
}

// Covers reports whether stages that are held are those of the charter, whoever holds them.
func (c *Charter) Covers(held []Held) bool {
	return slices.EqualFunc(c.Stages, held, func(s Stage, h Held) bool { return s.First == h.First && s.Last == h.Last })
}

// Check refuses what no honest head says of a line.
func (s *State) Check() error {
	if s.Line.IsZero() || max(len(s.Service), len(s.Trouble)) > 1000 || len(s.Stages) > MaxStages {
		return fmt.Errorf("a line's state that is too long, or of no line")
	}
	if s.Ready && len(s.Stages) < 2 {
		return fmt.Errorf("a line that answers with %d stages", len(s.Stages))
	}
	if min(int64(s.Replaced), s.Tokens, s.Rate, int64(s.Answering)) < 0 {
		return fmt.Errorf("a line's state with negative numbers")
	}
	next := 0
	for _, h := range s.Stages {
		if s.Ready && h.First != next {
			return fmt.Errorf("a line that answers with layers %d on, after those up to %d", h.First, next)
		}
		next = h.Last
		if len(h.Node) > maxWord || h.First < 0 || h.Last <= h.First {
			return fmt.Errorf("a line's state with layers %d to %d", h.First, h.Last)
		}
		if len(h.Team) > MaxTeam || slices.ContainsFunc(h.Team, func(m Member) bool { return len(m.Node) > maxWord || m.Speed < 1 || m.Speed > MaxSpeed }) {
			return fmt.Errorf("a line's state with a team of %d, or one with no speed", len(h.Team))
		}
	}
	return nil
}
