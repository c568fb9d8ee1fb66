package blob

import (
	"context"

	"atoll/internal/core"
)

// Manifest returns the manifest of content that is stored, in chunks of ChunkSize
// or, beyond 64 GiB, of more. It
// is made by reading all of it, one at a time, and kept with the content; once it is begun
// it is made to its end, for whoever asks next. Content that is damaged is removed, and the error is ErrCorrupt.
func (s *Store) Manifest(ctx context.Context, d core.Digest) (*Manifest, error) {
	r, size, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if m := s.described(r.entry); m != nil {
		return m, nil
	}
	select {
	case s.describing <- struct{}{}:
		defer func() { <-s.describing }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if m := s.described(r.entry); m != nil {
		return m, nil
	}
	m, err := Describe(context.WithoutCancel(ctx), r, chunkSize(size))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.entry.manifest = m
	return m, nil
}

func (s *Store) described(e *entry) *Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.manifest
}
