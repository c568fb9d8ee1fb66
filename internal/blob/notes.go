package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"atoll/internal/core"
)

// notesExt ends the name of the file that tells what is there of a part.
const notesExt = ".chunks"

// maxNotes bounds that file, in bytes.
const maxNotes = int64(MaxManifest + MaxChunks*noteSize)

func (s *Store) partPath(d core.Digest) string  { return filepath.Join(s.dir, partDir, d.Hex()) }
func (s *Store) notesPath(d core.Digest) string { return s.partPath(d) + notesExt }

func notesBegin(m *Manifest) int64 {
	return int64(manifestHeader + len(m.Sums)*len(core.Digest{}))
}

// writeNotes writes the notes of a part in place of what is there. They are not
// synced: they only say where to look.
func (s *Store) writeNotes(m *Manifest, order []uint32) error {
	b, err := m.AppendBinary(make([]byte, 0, notesBegin(m)+int64(len(order))*noteSize))
	if err != nil {
		return err
	}
	for _, n := range order {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	f, err := s.disk.CreateTemp(filepath.Join(s.dir, tempDir))
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.disk.Rename(f.Name(), s.notesPath(m.Digest))
	}
	if err != nil {
		_ = s.disk.Remove(f.Name()) // at worst it stays until the next Open
	}
	return err
}

// readNotes reads the notes of a part. A torn number at their end is left out, and so is
// what is no chunk or was told before.
func readNotes(r io.Reader) (m *Manifest, order []uint32, err error) {
	if m, err = ReadManifest(r); err != nil {
		return nil, nil, err
	}
	told := make([]bool, m.Chunks())
	for range MaxChunks {
		var b [noteSize]byte
		_, err := io.ReadFull(r, b[:])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if n := binary.BigEndian.Uint32(b[:]); int64(n) < int64(len(told)) && !told[n] {
			told[n], order = true, append(order, n)
		}
	}
	return m, order, nil
}

// scanParts finds the parts of a store that is being opened, and removes what is left of
// those that have become whole or cannot be used.
func (s *Store) scanParts(whole []found) (parts []found, err error) {
	files, err := os.ReadDir(filepath.Join(s.dir, partDir))
	if err != nil {
		return nil, err
	}
	done := map[string]bool{}
	for _, f := range whole {
		done[f.digest.Hex()] = true
	}
	known := map[string]bool{}
	for _, f := range files {
		name, notes := strings.CutSuffix(f.Name(), notesExt)
		if !notes || done[name] {
			continue
		}
		p, err := s.scanPart(name)
		if err != nil {
			s.log.Warn("blob store: an unfinished content was dropped", "digest", name, "error", err)
			continue
		}
		known[name] = true
		parts = append(parts, *p)
	}
	for _, f := range files {
		if !known[strings.TrimSuffix(f.Name(), notesExt)] {
			if err := s.disk.Remove(filepath.Join(s.dir, partDir, f.Name())); err != nil {
				return nil, err
			}
		}
	}
	return parts, nil
}

// scanPart reads the notes of one part.
func (s *Store) scanPart(name string) (*found, error) {
	d, err := core.ParseDigest("sha256:" + name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(s.notesPath(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, order, err := readNotes(io.LimitReader(f, maxNotes))
	if err != nil {
		return nil, err
	}
	if m.Digest != d {
		return nil, fmt.Errorf("%w: of %s", ErrManifest, m.Digest)
	}
	e := &entry{digest: d}
	for _, n := range order {
		_, size := m.Span(int(n))
		e.size += size
	}
	e.part = &Part{store: s, entry: e, changed: make(chan struct{})}
	return &found{e, info.ModTime()}, nil
}
