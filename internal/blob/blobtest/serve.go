// Package blobtest is the part of a hub that nodes fetch models from, for tests of nodes.
package blobtest

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"atoll/internal/blob"
)

// ServeModel answers a request for content: for its manifest where the path ends in
// /chunks, and else for its bytes or a range of them.
func ServeModel(w http.ResponseWriter, r *http.Request, content []byte) {
	if !strings.HasSuffix(r.URL.Path, "/chunks") {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		return
	}
	m, err := blob.Describe(r.Context(), bytes.NewReader(content), blob.ChunkSize)
	var b []byte
	if err == nil {
		b, err = m.AppendBinary(nil)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(b) // a client that is gone does not matter
}
