package receipt

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"atoll/internal/core"
	"atoll/internal/tlog"
)

// Want is what a receipt is checked against. Only Logs is required; a check
// whose want is zero is skipped, and the report says so.
type Want struct {
	Logs []tlog.Key // trusted; see ParseTrustedRoot
	// Key is the expected signer. Zero: the key in the log entry is used, which
	// proves integrity but not who signed.
	Key       Key
	Type      string       // ExecutionType or VerdictType
	Lease     core.LeaseID // and, if given, it is this lease's task, nonce and result
	Task      core.TaskID
	Nonce     string
	Result    core.Digest // of the result's bytes
	Seen      Seen
	Witnesses []tlog.Witness // each must have cosigned
}

// Seen is the greatest tree that the caller has believed before.
type Seen struct {
	Size  int64
	Root  tlog.Hash
	Proof []tlog.Hash // of consistency, from Size to the receipt's tree
}

// Step is one check's outcome. A skipped step was not wanted, or could not be
// made after another had failed.
type Step struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"`
	Detail  string `json:"detail"`
	Err     error  `json:"-"` // wraps the check's own error if it failed
}

// Report is what Check found. Its statement is to be believed only if Check
// returned no error.
type Report struct {
	Steps      []Step          `json:"checks"`
	Type       string          `json:"type,omitempty"`
	Receipt    core.Digest     `json:"receipt,omitzero"` // of the PAE
	Signer     core.Digest     `json:"signer,omitzero"`  // of the public key
	Origin     string          `json:"log,omitempty"`
	Index      int64           `json:"log_index"`
	Checkpoint tlog.Checkpoint `json:"-"`
	Execution  *Execution      `json:"execution,omitempty"`
	Verdict    *Verdict        `json:"verdict,omitempty"`
}

// steps are the checks, in their order. Each fails with one error of its own.
var steps = []struct {
	name string
	run  func(*checker) (detail string, err error)
}{
	{"bundle", (*checker).bundle},
	{"key", (*checker).key},
	{"signature", (*checker).signature},
	{"statement", (*checker).statement},
	{"type", (*checker).kind},
	{"lease", (*checker).lease},
	{"task", (*checker).task},
	{"nonce", (*checker).nonce},
	{"result", (*checker).result},
	{"entry", (*checker).logEntry},
	{"inclusion", (*checker).inclusion},
	{"log", (*checker).log},
	{"checkpoint", (*checker).checkpoint},
	{"origin", (*checker).origin},
	{"root", (*checker).treeRoot},
	{"growth", (*checker).growth},
	{"consistency", (*checker).consistency},
	{"witness", (*checker).witness},
}

// Check makes every check on a bundle that can be made, offline, and returns
// the first failure, which wraps one of this package's errors.
func Check(bundle []byte, want Want) (*Report, error) {
	c := &checker{want: want, raw: bundle, report: &Report{}}
	var first error
	for _, s := range steps {
		detail, err := s.run(c)
		step := Step{Name: s.name, OK: err == nil, Detail: detail}
		if skip, ok := errors.AsType[skipped](err); ok {
			step.Skipped, step.Detail = true, string(skip)
		} else if err != nil {
			step.Err, step.Detail = err, err.Error()
			if first == nil {
				first = err
			}
		}
		c.report.Steps = append(c.report.Steps, step)
	}
	return c.report, first
}

// skipped is the reason why a check was not made.
type skipped string

func (s skipped) Error() string { return string(s) }

const (
	notAsked = skipped("not asked for")
	notMade  = skipped("cannot be made after an earlier failure")
)

// checker carries what earlier checks found; nil and zero mean that they failed.
type checker struct {
	want   Want
	raw    []byte
	report *Report

	parsed   *parsedBundle
	entry    *leaf
	signer   Key
	opened   *opened
	trusted  tlog.Key
	tree     tlog.Checkpoint
	signed   bool // the checkpoint's signature holds
	noOrigin error
	treeOK   bool
}

func (c *checker) bundle() (string, error) {
	p, err := parseBundle(c.raw)
	if err != nil {
		return "", err
	}
	c.parsed = p
	c.report.Receipt, c.report.Index = p.envelope.digest, p.entry.LogIndex
	if l, err := parseLeaf(p.entry.Body); err == nil {
		c.entry = &l // that it could not be read is said by logEntry
	}
	return fmt.Sprintf("Sigstore bundle v0.3 of %d bytes", len(c.raw)), nil
}

func (c *checker) key() (string, error) {
	if c.parsed == nil {
		return "", notMade
	}
	k := c.want.Key
	given := !k.IsZero()
	if !given {
		if c.entry == nil {
			return "", fmt.Errorf("%w: none is given, and the log entry has none", ErrKey)
		}
		k = c.entry.key
	}
	if k.hint() != c.parsed.hint {
		return "", fmt.Errorf("%w: the bundle asks for key %.60q, have %s", ErrKey, c.parsed.hint, k.hint())
	}
	c.signer, c.report.Signer = k, k.digest
	if !given {
		return "", skipped("no key is given; used the log entry's, " + k.digest.String() + ": who holds it is not proven")
	}
	return "the given key, " + k.digest.String(), nil
}

func (c *checker) signature() (string, error) {
	if c.signer.IsZero() {
		return "", notMade
	}
	if err := c.signer.verify(&c.parsed.envelope); err != nil {
		return "", err
	}
	return "ECDSA P-256 over the PAE, " + c.parsed.envelope.digest.String(), nil
}

func (c *checker) statement() (string, error) {
	if c.parsed == nil {
		return "", notMade
	}
	o, err := decode(c.parsed.envelope.payload)
	if err != nil {
		return "", err
	}
	c.opened = o
	c.report.Type, c.report.Execution, c.report.Verdict = o.kind, o.execution, o.verdict
	return fmt.Sprintf("in-toto statement over %d lease(s); each subject is a lease's result", len(o.predicate().claims())), nil
}

func (c *checker) kind() (string, error) {
	switch {
	case c.want.Type == "":
		return "", notAsked
	case c.opened == nil:
		return "", notMade
	case c.opened.kind != c.want.Type:
		return "", fmt.Errorf("%w: %s, want %s", ErrType, c.opened.kind, c.want.Type)
	}
	return c.opened.kind, nil
}

// about returns the claims that the wants are to be compared with: that of the
// wanted lease, or all if no lease is wanted or it is not there.
func (c *checker) about() []claim {
	all := c.opened.predicate().claims()
	for i := range all {
		if all[i].lease == c.want.Lease {
			return all[i : i+1]
		}
	}
	return all
}

func (c *checker) any(asked bool, match func(claim) bool, refusal error, wanted any) (string, error) {
	if !asked {
		return "", notAsked
	}
	if c.opened == nil {
		return "", notMade
	}
	for _, x := range c.about() {
		if match(x) {
			return fmt.Sprintf("%v, as %s says", wanted, x.lease), nil
		}
	}
	return "", fmt.Errorf("%w: want %v", refusal, wanted)
}

func (c *checker) lease() (string, error) {
	return c.any(c.want.Lease != 0, func(x claim) bool { return x.lease == c.want.Lease }, ErrLease, c.want.Lease)
}

func (c *checker) task() (string, error) {
	return c.any(c.want.Task != 0, func(x claim) bool { return x.task == c.want.Task }, ErrTask, c.want.Task)
}

func (c *checker) nonce() (string, error) {
	return c.any(c.want.Nonce != "", func(x claim) bool { return x.nonce == c.want.Nonce }, ErrNonce, c.want.Nonce)
}

func (c *checker) result() (string, error) {
	return c.any(!c.want.Result.IsZero(), func(x claim) bool { return x.result == c.want.Result }, ErrSubject, c.want.Result)
}

func (c *checker) logEntry() (string, error) {
	if c.parsed == nil {
		return "", notMade
	}
	e := &c.parsed.entry
	l, err := parseLeaf(e.Body)
	switch {
	case err != nil:
		return "", err
	case e.KindVersion.Kind != leafKind || e.KindVersion.Version != leafVersion:
		return "", fmt.Errorf("%w: kind %.40q version %.40q", ErrEntry, e.KindVersion.Kind, e.KindVersion.Version)
	case l.digest != c.parsed.envelope.digest:
		return "", fmt.Errorf("%w: other statement", ErrEntry)
	case !bytes.Equal(l.sig, c.parsed.envelope.sig):
		return "", fmt.Errorf("%w: other signature", ErrEntry)
	case !c.signer.IsZero() && l.key.digest != c.signer.digest:
		return "", fmt.Errorf("%w: other key", ErrEntry)
	}
	return fmt.Sprintf("leaf %d holds this statement's digest, signature and key", e.LogIndex), nil
}

func (c *checker) inclusion() (string, error) {
	if c.parsed == nil {
		return "", notMade
	}
	e := &c.parsed.entry
	if e.LogIndex != e.Proof.LogIndex {
		return "", fmt.Errorf("%w: it is for leaf %d, the entry is leaf %d", ErrInclusion, e.Proof.LogIndex, e.LogIndex)
	}
	if err := tlog.CheckInclusion(c.parsed.proof, e.Proof.TreeSize, c.parsed.root, e.LogIndex, tlog.LeafHash(e.Body)); err != nil {
		return "", fmt.Errorf("%w: %w", ErrInclusion, err)
	}
	return fmt.Sprintf("leaf %d is in the tree of %d leaves", e.LogIndex, e.Proof.TreeSize), nil
}

func (c *checker) log() (string, error) {
	if c.parsed == nil {
		return "", notMade
	}
	for _, k := range c.want.Logs {
		if id := k.ID(); bytes.Equal(id[:], c.parsed.entry.LogID.KeyID) {
			c.trusted, c.report.Origin = k, k.Origin()
			return k.Origin() + ", in the trusted root", nil
		}
	}
	return "", fmt.Errorf("%w: ID %x is not one of the %d trusted", ErrLog, c.parsed.entry.LogID.KeyID, len(c.want.Logs))
}

func (c *checker) checkpoint() (string, error) {
	if c.trusted.IsZero() {
		return "", notMade
	}
	tree, err := c.trusted.Open([]byte(c.parsed.entry.Proof.Checkpoint.Envelope))
	if errors.Is(err, tlog.ErrOrigin) {
		c.noOrigin, err = err, nil // the signature itself holds
	} else if err == nil {
		c.tree, c.report.Checkpoint, c.treeOK = tree, tree, true
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	c.signed = true
	return "signed by the log's Ed25519 key", nil
}

func (c *checker) origin() (string, error) {
	if !c.signed {
		return "", notMade
	}
	if c.noOrigin != nil {
		return "", fmt.Errorf("%w: %w", ErrOrigin, c.noOrigin)
	}
	return c.trusted.Origin(), nil
}

func (c *checker) treeRoot() (string, error) {
	if !c.treeOK {
		return "", notMade
	}
	if p := &c.parsed.entry.Proof; p.TreeSize != c.tree.Size || c.parsed.root != c.tree.Root {
		return "", fmt.Errorf("%w: %d leaves with root %s, signed are %d with %s", ErrRoot, p.TreeSize, c.parsed.root, c.tree.Size, c.tree.Root)
	}
	return fmt.Sprintf("%d leaves, root %s", c.tree.Size, c.tree.Root), nil
}

func (c *checker) growth() (string, error) {
	switch seen := c.want.Seen.Size; {
	case seen == 0:
		return "", skipped("no earlier checkpoint is known")
	case !c.treeOK:
		return "", notMade
	case c.tree.Size < seen:
		return "", fmt.Errorf("%w: %d leaves, were %d", ErrShrunk, c.tree.Size, seen)
	default:
		return fmt.Sprintf("%d leaves, were %d", c.tree.Size, seen), nil
	}
}

func (c *checker) consistency() (string, error) {
	seen := &c.want.Seen
	switch {
	case seen.Size == 0:
		return "", skipped("no earlier checkpoint is known")
	case !c.treeOK || c.tree.Size < seen.Size:
		return "", notMade
	case c.tree.Size == seen.Size:
		if c.tree.Root != seen.Root {
			return "", fmt.Errorf("%w: two roots for %d leaves", ErrFork, seen.Size)
		}
		return "the very tree seen before", nil
	case seen.Proof == nil:
		return "", skipped("no consistency proof is given")
	}
	if err := tlog.CheckConsistency(seen.Proof, seen.Size, seen.Root, c.tree.Size, c.tree.Root); err != nil {
		return "", fmt.Errorf("%w: %w", ErrFork, err)
	}
	return fmt.Sprintf("the first %d leaves are those seen before", seen.Size), nil
}

func (c *checker) witness() (string, error) {
	if len(c.want.Witnesses) == 0 {
		return "", notAsked
	}
	if !c.treeOK {
		return "", notMade
	}
	said := make([]string, len(c.want.Witnesses))
	for i, w := range c.want.Witnesses {
		at, err := w.Cosigned([]byte(c.parsed.entry.Proof.Checkpoint.Envelope))
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrWitness, err)
		}
		said[i] = w.Name() + " at " + time.Unix(at, 0).UTC().Format(time.RFC3339)
	}
	return "cosigned by " + strings.Join(said, ", "), nil
}
