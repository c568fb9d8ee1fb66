// Package engine is the boundary between a node and whatever computes: a
// WebAssembly module, a text classifier, later a language model or somebody
// else's server. An Engine turns a Model, given as digest-checked local files,
// into Instances; an Instance turns the bytes of one part into the bytes of its
// result.
//
// Each engine is one thin adapter in a package of its own below this one, and
// each passes the same suite, engine/conformance.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/peer"
	"atoll/internal/shard/charter"
)

// Failures that mean the part itself, not the node, is at fault. Engines wrap
// them, with the detail in the message, so that a node can report them and the
// hub need not blame the node.
var (
	ErrModel    = errors.New("model refused")     // not a model of this engine, or damaged
	ErrInput    = errors.New("input refused")     // not input of this model
	ErrTooLarge = errors.New("limit exceeded")    // memory, output, files or input size
	ErrDeadline = errors.New("deadline exceeded") // wall clock or CPU time of the part is used up
	ErrCrashed  = errors.New("run failed")        // the model's own code failed: a trap, a non-zero exit
)

// Engine loads models of one kind. Implementations are safe for concurrent use.
type Engine interface {
	// Name is the value of a model's "engine" field: "wasm", "text", …
	Name() string
	// Reproducible reports whether equal input gives equal bytes on every
	// machine, which is what quorum and re-execution rest on.
	Reproducible() bool
	// Load prepares a model. It fails with ErrModel when the files are not a
	// model of this engine.
	Load(ctx context.Context, m Model) (Instance, error)
	// Close frees what the engine holds, child processes included.
	Close() error
}

// Host is an engine whose models are at a server that is not the node's: they come
// and go.
type Host interface {
	Engine
	// Watch tells what can be had, at once and whenever that changes, until ctx ends.
	Watch(ctx context.Context, tell func(Hosted))
}

// Sharer is an engine that computes models together with those of other nodes: each
// holds some of a model's layers, and together they are a line (package shard).
type Sharer interface {
	Engine
	// Join puts the engine among its peers, once, before all else. It returns what
	// answers them, by protocol.
	Join(n Neighbours) map[string]peer.Handler
	// Charter tells of a line that names this node: it holds what others ask of it
	// for that line, and heads the line if it is the first.
	Charter(c *charter.Charter)
	// Lines tells of the lines that this node heads, at once and as they change, until
	// ctx ends. Load gives an instance of one that is ready.
	Lines(ctx context.Context, tell func([]charter.State))
}

// Neighbours are the nodes around an engine, and what it needs of its own.
type Neighbours struct {
	Self peer.Address
	Open func(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error)
	// Fetch returns a model's file, of which each piece is checked as it comes.
	Fetch func(ctx context.Context, d core.Digest, size int64) (ModelFile, error)
	Seal  identity.Sealer // with the node's key
	Hub   identity.PublicKey
}

// ModelFile is a model's file that need not be here yet: a read waits for its bytes, until
// the file is closed.
type ModelFile interface {
	io.ReaderAt
	// Ensure brings what will be read, and nothing else.
	Ensure(ctx context.Context, ranges ...blob.Range) error
	Close()
}

// Hosted is what a Host's server has at one moment.
type Hosted struct {
	Models []string // by their names there, sorted
	// Trouble, if not empty, is why something that should be offered is not.
	Trouble string
}

// Model is a model whose bytes are on local disk and match their digests, or one that
// a line computes.
type Model struct {
	Digest core.Digest // of Path's content
	Path   string      // empty with a Line
	Line   charter.ID  // zero: the model is computed here
	Audit  bool        // a stage of a line is computed again, which needs some of the layers
	// Tenant is the requesting account. Engines that pool processes never
	// share one between tenants.
	Tenant core.AccountID
}

// Instance runs parts. Run is safe for concurrent use; parts do not see each
// other.
type Instance interface {
	// Run computes one part. It returns when ctx ends at the latest.
	Run(ctx context.Context, in Input) (Output, Usage, error)
	Close(ctx context.Context) error
}

// Input is one part's input with its parameters and limits.
type Input struct {
	Data   []byte
	Params map[string]string // the task's params, each value as compact JSON or bare string
	Limits Limits
	// Progress, if set, is told the result while it comes into being: each call
	// continues the call before, and all of them together are a beginning of what
	// Run will return. Calls do not overlap, and none comes after Run has returned.
	// An engine may tell nothing.
	Progress func(more []byte)
}

// Limits bound one run; a zero field means the engine's default.
type Limits struct {
	Wall   time.Duration
	CPU    time.Duration
	Memory int64 // bytes
	Output int64 // bytes
}

// Within ends ctx when the first of wall-clock and CPU time would be used up. It
// suits engines that take the time on the wall for the CPU time of a run.
func (l Limits) Within(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := l.Wall
	if l.CPU > 0 && (limit <= 0 || l.CPU < limit) {
		limit = l.CPU
	}
	if limit <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// Ended is why ctx is over, in the engine's words: a deadline is the part's, a
// cancellation nobody's fault. It is nil while ctx is not over.
func Ended(ctx context.Context) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrDeadline, err)
	}
	return err
}

// Piece derives from a run and its claimed output the input of a cheaper one,
// which repeats only a piece of it, of about size steps of the engine's, and must
// give the claimed output all the same, bit for bit, if that is true. Which piece
// is a function of the lot, which whoever made the claim could not foresee. It
// fails if the claim is none that the engine could have made; then all is to be
// run again. It is pure.
type Piece func(in Input, claimed []byte, size int, lot [32]byte) ([]byte, error)

// Output is one part's result. Reasons that a classifier gives are inside Data.
type Output struct {
	Data []byte
	// Accounts, of a result that a line has computed, are what the nodes say of it that
	// had a part in it: JSON, see shard.Accounts.
	Accounts []byte
}

// Usage is what the run consumed, as measured where it ran.
type Usage struct {
	CPU      time.Duration
	Memory   int64 // peak bytes, 0 if unknown
	BytesIn  int64
	BytesOut int64
	// Of language models: tokens read and drawn.
	TokensIn, TokensOut int64
}
