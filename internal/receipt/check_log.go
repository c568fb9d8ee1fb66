package receipt

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"atoll/internal/tlog"
)

// The checks of the log: that the statement is in it, and that it is the log
// that others see.

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
