package swarm

import (
	"bytes"
	"slices"
	"testing"

	"atoll/internal/blob"
	"atoll/internal/core"
)

func FuzzReadAsk(f *testing.F) {
	f.Add((&ask{kind: askOpen, digest: core.Digest{1}, size: 5, chunk: blob.ChunkSize}).append(nil))
	f.Add((&ask{kind: askChunk, n: 77}).append(nil))
	f.Add([]byte{askOpen, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		a, err := readAsk(r)
		if err != nil {
			return
		}
		if back := a.append(nil); !bytes.Equal(back, b[:len(b)-r.Len()]) {
			t.Errorf("%x was read as %x", b, back)
		}
	})
}

func FuzzReadTell(f *testing.F) {
	f.Add(head(nil, tellAll, 0))
	f.Add(sayHave([]uint32{1, 7, 1 << 31}))
	f.Add(sayNo("no \xff"))
	f.Add(append(head(nil, tellChunk, 4+3), 0, 0, 0, 9, 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m, err := readTell(r, make([]byte, 100))
		if err != nil {
			return
		}
		used := b[:len(b)-r.Len()]
		var back []byte
		switch m.kind {
		case tellAll:
			back = head(nil, tellAll, 0)
		case tellHave:
			back = sayHave(m.chunks)
		case tellChunk:
			back = slices.Concat(head(nil, tellChunk, len(m.data)+4), used[frameHeader:frameHeader+4], m.data)
		case tellNo:
			if back = used; len(m.text) > maxText {
				t.Errorf("text of %d bytes", len(m.text))
			}
		}
		if !bytes.Equal(back, used) {
			t.Errorf("%x was read as %x", used, back)
		}
	})
}
