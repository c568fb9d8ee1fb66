package tlog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Errors of checkpoints.
var (
	ErrCheckpoint = errors.New("tlog: malformed checkpoint")
	ErrSignature  = errors.New("tlog: checkpoint is not signed by the log's key")
	ErrOrigin     = errors.New("tlog: checkpoint of another log")
	ErrShrunk     = errors.New("tlog: the log has become smaller")
	ErrFork       = errors.New("tlog: the log contradicts what it said before")
)

// Checkpoint says what the first Size leaves are. Root is meaningless while
// Size is 0.
type Checkpoint struct {
	Size int64
	Root Hash
	// Epoch counts the checkpoints of a log from 1. It is in the database's row,
	// which is replaced by compare-and-swap, and not in the signed text.
	Epoch int64
}

// Next returns the checkpoint to follow prev. An unchanged log gives prev
// itself; a smaller one fails with ErrShrunk, another root for the same size
// with ErrFork.
func Next(prev Checkpoint, size int64, root Hash) (Checkpoint, error) {
	switch {
	case size < prev.Size:
		return Checkpoint{}, fmt.Errorf("%w: from %d leaves to %d", ErrShrunk, prev.Size, size)
	case size > prev.Size:
		return Checkpoint{Size: size, Root: root, Epoch: prev.Epoch + 1}, nil
	case size > 0 && root != prev.Root:
		return Checkpoint{}, fmt.Errorf("%w: two roots for %d leaves, %s and %s", ErrFork, size, prev.Root, root)
	}
	return prev, nil
}

// Next returns the checkpoint over all leaves, to follow prev. It fails with
// ErrFork if the tree does not have prev's root at prev's size.
func (t *Tree) Next(prev Checkpoint) (Checkpoint, error) {
	size := t.Size()
	if size < prev.Size {
		return Next(prev, size, Hash{})
	}
	then, err := t.Root(prev.Size)
	if err != nil {
		return Checkpoint{}, err
	}
	if _, err := Next(prev, prev.Size, then); err != nil {
		return Checkpoint{}, err
	}
	now, err := t.Root(size)
	if err != nil {
		return Checkpoint{}, err
	}
	return Next(prev, size, now)
}

// FormatCheckpoint returns the text that is signed.
func FormatCheckpoint(origin string, c Checkpoint) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, c.Size, c.Root)
}

// ParseCheckpoint reads a checkpoint's text, without signatures. Extension
// lines are allowed and ignored, as tlog-checkpoint asks.
func ParseCheckpoint(text string) (origin string, c Checkpoint, err error) {
	bad := func(what string) (string, Checkpoint, error) {
		return "", Checkpoint{}, fmt.Errorf("%w: %s", ErrCheckpoint, what)
	}
	if len(text) > MaxCheckpoint {
		return bad("larger than " + strconv.Itoa(MaxCheckpoint) + " bytes")
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" {
		return bad("want three lines that each end in a newline")
	}
	if lines[0] == "" {
		return bad("no origin")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > maxSize || strconv.FormatInt(size, 10) != lines[1] {
		return bad("tree size is not a plain decimal number in range")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != HashSize || strings.Contains(lines[2], "\r") {
		return bad("root is not the base64 of 32 bytes")
	}
	if slices.Contains(lines[3:len(lines)-1], "") {
		return bad("empty extension line")
	}
	return lines[0], Checkpoint{Size: size, Root: Hash(root)}, nil
}

// Open reads a signed checkpoint of this log: ErrSignature if the key has not
// signed it, ErrOrigin if what was signed is about another log. Signatures of
// others are left alone.
func (k Key) Open(msg []byte) (Checkpoint, error) {
	if len(msg) > MaxCheckpoint {
		return Checkpoint{}, fmt.Errorf("%w: larger than %d bytes", ErrCheckpoint, MaxCheckpoint)
	}
	if k.IsZero() {
		return Checkpoint{}, fmt.Errorf("%w: no key is given", ErrSignature)
	}
	n, err := note.Open(msg, note.VerifierList(k.verifier()))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	origin, c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if origin != k.origin {
		return Checkpoint{}, fmt.Errorf("%w: of %.80q, want %q", ErrOrigin, origin, k.origin)
	}
	return c, nil
}
