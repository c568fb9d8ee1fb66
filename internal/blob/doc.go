// Package blob keeps bytes on disk under their SHA-256 digest: models, inputs,
// results. Whoever holds a digest can ask for the bytes and know that they are
// the right ones.
//
//	DIR/sha256/ab/ab12…   content, named by its 64 hex digits
//	DIR/tmp/put-…         content being written; deleted at the next Open
//	DIR/tmp/gone-ab12…    content about to be deleted; put back at the next Open
//	DIR/parts/ab12…       content of which some chunks are there, each at its place
//	DIR/parts/ab12….chunks  its manifest, then the numbers of the chunks that have come
//
// Content appears under its name only by rename, after its digest has been
// checked and the file synced, and Put returns only after the directory has
// been synced too. So a crash leaves whole content or none, and what Put has
// acknowledged survives it. Nothing else is stored: sizes and order of use are
// rebuilt at Open from the files, oldest modification first.
//
// Content may also come in chunks, in any order and over several lives of the process:
// a [Part], which a [Manifest] describes. Nothing is synced until it is whole. Instead
// the chunks that are noted are read and checked when the part is first used again:
// notes say where to look, digests what is there. It counts as used for the chunks that
// it has, and once it is whole and has the right digest it becomes ordinary content.
//
// With a size limit, the content that was least recently used gives way to new
// content. Content that is open or pinned is in use and never gives way.
//
// With a reserve, that much of the disk stays free: a Put that would go under it
// is refused before it writes, and in a store with a size limit old content gives
// way first. Half of the reserve is for PutUrgent: content that ends work under
// way, and so frees room.
//
// A disk can lie. A reader that reads content from its start to its end hashes
// it on the way, and gets ErrCorrupt in place of the last bytes if they are not
// what was stored; [Store.Verify] does the same on demand. Damaged content is
// removed and logged, so that it can be fetched anew.
//
// One process may use a directory at a time.
package blob

import "errors"

// Failures that callers tell apart. ErrMismatch, ErrTooLarge, ErrNotFound and
// ErrNoSpace come wrapped in a core.Error of a fitting kind.
var (
	ErrNotFound = errors.New("blob: not stored")
	ErrMismatch = errors.New("blob: digest mismatch")
	ErrTooLarge = errors.New("blob: too large")
	ErrFull     = errors.New("blob: everything stored is in use and there is no room")
	ErrNoSpace  = errors.New("blob: the disk is nearly full")
	ErrStored   = errors.New("blob: it is stored as a whole")
	ErrCorrupt  = errors.New("blob: content is damaged")
)

const (
	copyBuffer = 256 << 10 // bytes held in memory by each Put and Verify
	contentDir = "sha256"
	tempDir    = "tmp"
	partDir    = "parts"
)
