package atoll_test

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"atoll/internal/blob"
	"atoll/internal/core"
)

// A node gets a model's manifest, and any range of its bytes.
func TestNodeModelByChunks(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	content := bytes.Repeat([]byte("weights "), 300_000)
	d := core.DigestOf(content)
	b.hub.blobs[d] = content
	path := "/v1/node/models/" + d.String()
	res, data := b.do("GET", path+"/chunks", "node-key", "")
	m, err := blob.ReadManifest(bytes.NewReader(data))
	if err != nil || res.StatusCode != http.StatusOK || m.Digest != d || m.Chunks() != 3 {
		t.Fatalf("%d, %+v, %v", res.StatusCode, m, err)
	}
	for n := range m.Chunks() {
		off, size := m.Span(n)
		res, data := b.do("GET", path, "node-key", "", fmt.Sprintf("Range: bytes=%d-%d", off, off+size-1))
		if res.StatusCode != http.StatusPartialContent || !m.Is(n, data) {
			t.Errorf("chunk %d: %d, %d bytes", n, res.StatusCode, len(data))
		}
	}
	if res, data := b.do("GET", path, "node-key", ""); res.StatusCode != http.StatusOK || !bytes.Equal(data, content) {
		t.Errorf("the whole: %d, %d bytes", res.StatusCode, len(data))
	}
	if res, _ := b.do("GET", path, "node-key", "", "Range: bytes=9999999-"); res.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range after the end: %d", res.StatusCode)
	}
	for _, bad := range []string{"sha256:..", core.Digest{1}.String()} {
		if res, _ := b.do("GET", "/v1/node/models/"+bad+"/chunks", "node-key", ""); res.StatusCode < 400 || res.StatusCode >= 500 {
			t.Errorf("%s: %d", bad, res.StatusCode)
		}
	}
}
