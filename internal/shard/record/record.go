// Package record is what the stages of a line say they have done, signed, so that
// anybody can be asked to do a piece of it again: see package shard. It is pure but for
// keys.
//
// # Chains
//
// A stage computes rows from rows, one for each position of a sequence; the head from
// tokens, and the last stage draws tokens. Both sides are hash chains over positions:
//
//	link 0     SHA-256 of "atoll stage v1", a line end, and the sequence's terms
//	link n+1   SHA-256 of link n and position n: a row as it is sent, see llm.RowForm,
//	           or a token as int32, little-endian
//
// The last stage has a third chain, of the logits that it has drawn tokens from: other
// weights may draw the same few tokens. A position of it is their Fingerprint, uint64,
// little-endian.
//
// What a position holds depends on the model, the prompt, the seed and the position
// alone, however the stages were cut, batched or replaced. So of neighbours the
// links out of one are the links into the other, and who computes a stage again from
// the same rows comes to the same links.
//
// A Statement has every Every-th link and the last: so a beginning of the sequence can
// be checked by itself.
package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/planted"
	"atoll/internal/shard/charter"
)

// Every is how many positions lie between two links of a Statement.
const Every = 64

// PayloadType is the DSSE payload type under which a node seals a Statement.
const PayloadType = "application/vnd.atoll.stage+json"

// Bounds of statements.
const (
	maxPositions = 1 << 24
	maxWord      = 128
)

// Terms are what a sequence is asked for: the chains of its stages begin with them.
type Terms struct {
	Prompt  int    // positions
	Limit   int    // positions at most
	Opening []byte // how tokens are drawn, see shard.Opening
}

// Start is link 0.
func (t *Terms) Start() core.Digest {
	b := []byte("atoll stage v1\n")
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Prompt))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Limit))
	return core.DigestOf(append(b, t.Opening...))
}

// Chain is links over positions. The zero Chain has none: use New.
type Chain struct {
	links []core.Digest // of each position, after the first
	buf   []byte
}

// New begins a chain with link 0.
func New(start core.Digest) *Chain { return &Chain{links: []core.Digest{start}} }

// Len is how many positions the chain has.
func (c *Chain) Len() int { return len(c.links) - 1 }

// Rows adds n positions, whose rows are of the same size. No rows add none.
func (c *Chain) Rows(rows []byte, n int) {
	for row := len(rows) / n; len(rows) > 0; rows = rows[row:] {
		c.end(append(c.begin(row), rows[:row]...))
	}
}

// Token adds a position.
func (c *Chain) Token(id int32) { c.end(binary.LittleEndian.AppendUint32(c.begin(4), uint32(id))) }

// Logits adds a position, of which that is the Fingerprint.
func (c *Chain) Logits(fingerprint uint64) {
	c.end(binary.LittleEndian.AppendUint64(c.begin(8), fingerprint))
}

// Fingerprint is the XXH64 of logits as binary32, little-endian. It is no cryptographic
// hash and need not be one: only who has computed all logits can know it, for it takes
// their bits and not their values. SHA-256 takes four times as long, which is more than a
// layer of a small model takes.
func Fingerprint(logits []float32) uint64 {
	h := xxhash.New()
	var piece [4096]byte // a row of logits is too long to be copied whole for each token
	for len(logits) > 0 {
		n := min(len(logits), len(piece)/4)
		for i, v := range logits[:n] {
			binary.LittleEndian.PutUint32(piece[4*i:], math.Float32bits(v))
		}
		_, _ = h.Write(piece[:4*n]) // never an error
		logits = logits[n:]
	}
	return h.Sum64()
}

func (c *Chain) begin(size int) []byte {
	c.buf = slices.Grow(c.buf[:0], sha256.Size+size)
	last := c.links[len(c.links)-1]
	return append(c.buf, last[:]...)
}

func (c *Chain) end(b []byte) {
	c.buf = b
	c.links = append(c.links, core.Digest(sha256.Sum256(b)))
}

// Links are what a Statement has of the first n positions, which must be there.
func (c *Chain) Links(n int) (out []core.Digest) {
	for at := Every; at < n; at += Every {
		out = append(out, c.links[at])
	}
	return append(out, c.links[n])
}

// Statement is what a node says of one sequence at one stage.
type Statement struct {
	Line     charter.ID  `json:"line"`
	Sequence uint32      `json:"sequence"`
	Node     core.NodeID `json:"node"`
	Model    core.Digest `json:"model"`
	Profile  string      `json:"profile"`
	First    int         `json:"first"` // layers First ≤ i < Last
	Last     int         `json:"last"`
	Team     bool        `json:"team,omitempty"` // computed by the team that the charter names
	Start    core.Digest `json:"start"`          // link 0: the sequence's terms
	Prompt   int         `json:"prompt"`         // positions
	Computed int         `json:"positions"`      // that went through the layers
	// In and Out are Chain.Links. Out of the last stage is of the tokens drawn, one
	// for each position from the prompt's last on.
	In  []core.Digest `json:"in"`
	Out []core.Digest `json:"out"`
	// Logits are of the last stage, as many as Out.
	Logits []core.Digest `json:"logits,omitempty"`
}

// Seal signs a statement with its node's key, which seal has.
func Seal(s *Statement, seal identity.Sealer) (identity.Sealed, error) {
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return seal(PayloadType, payload)
}

// Signed is a sealed statement, and whose it should be.
type Signed struct {
	Node      core.NodeID `json:"node"`
	Statement []byte      `json:"statement"`
}

// Open checks a statement against the key of the node that should have made it.
func Open(sealed []byte, key identity.PublicKey) (*Statement, error) {
	payload, err := identity.Open(sealed, PayloadType, key)
	if err != nil {
		return nil, err
	}
	s := new(Statement)
	if err := json.Unmarshal(payload, s); err != nil {
		return nil, core.Errorf(core.Invalid, "statement: %w", err)
	}
	return s, s.check()
}

func (s *Statement) check() error {
	switch {
	case s.Line.IsZero() || s.Model.IsZero() || s.Start.IsZero() || s.Node == "" || max(len(s.Node), len(s.Profile)) > maxWord:
		return core.Errorf(core.Invalid, "statement: line, model or node are missing")
	case s.First < 0 || s.Last <= s.First || s.Prompt < 1 || s.Computed < s.Prompt || s.Computed > maxPositions:
		return core.Errorf(core.Invalid, "statement: layers %d to %d, %d positions after a prompt of %d", s.First, s.Last, s.Computed, s.Prompt)
	case len(s.In) != links(s.Computed):
		return core.Errorf(core.Invalid, "statement: %d links in for %d positions", len(s.In), s.Computed)
	}
	return nil
}

// links is how many links a statement has of n positions.
func links(n int) int { return max(1, (n+Every-1)/Every) }

// Drawn is how many tokens the last stage has drawn.
func (s *Statement) Drawn() int { return s.Computed - s.Prompt + 1 }

// Answer is what the stages of a line say of one sequence, in the order of the layers,
// the head first.
type Answer []*Statement

// ErrBroken means that statements do not fit together: somebody has not told the truth.
// Nothing says who.
var ErrBroken = core.Errorf(core.Invalid, "the stages contradict one another")

// Check looks whether statements tell of one sequence through all layers, and that the
// tokens drawn are these. It returns ErrBroken, with the place, where they do not.
func (a Answer) Check(layers int, drawn []int32) error {
	broken := func(format string, args ...any) error {
		return core.Errorf(core.Invalid, "%w: "+format, append([]any{ErrBroken}, args...)...)
	}
	if len(a) == 0 {
		return broken("there are none")
	}
	next := 0
	for i, s := range a {
		if s.First != next {
			return broken("layers %d on, after those up to %d", s.First, next)
		}
		next = s.Last
		if f := a[0]; s.Line != f.Line || s.Sequence != f.Sequence || s.Model != f.Model || s.Profile != f.Profile || s.Start != f.Start || s.Prompt != f.Prompt || s.Computed != f.Computed {
			return broken("%s speaks of another sequence than %s", s.Node, f.Node)
		}
		if i > 0 && !slices.Equal(a[i-1].Out, s.In) && !planted.Account {
			return broken("what %s says it has sent is not what %s says it has received", a[i-1].Node, s.Node)
		}
	}
	if next != layers {
		return broken("layers up to %d of %d", next, layers)
	}
	last := a[len(a)-1]
	if last.Drawn() != len(drawn) {
		return broken("%s has drawn %d tokens, and the answer has %d", last.Node, last.Drawn(), len(drawn))
	}
	c := New(last.Start)
	for _, id := range drawn {
		c.Token(id)
	}
	if len(last.Logits) != len(last.Out) {
		return broken("%s does not say what it has drawn from", last.Node)
	}
	if !slices.Equal(c.Links(len(drawn)), last.Out) {
		return broken("%s has not drawn the tokens of the answer", last.Node)
	}
	return nil
}

// Equal reports whether the first n links, or all if there are fewer, are equal: and
// that there is one at least.
func Equal(a, b []core.Digest, n int) bool {
	n = min(n, len(a), len(b))
	return n > 0 && slices.EqualFunc(a[:n], b[:n], func(x, y core.Digest) bool { return bytes.Equal(x[:], y[:]) })
}
