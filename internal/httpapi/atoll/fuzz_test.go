package atoll

import (
	"encoding/base64"
	"net/http"
	"testing"

	"atoll/internal/core"
)

// A cursor comes back from clients, who may have changed it: it is read to the
// very key it was made of, or refused.
func FuzzOfferCursor(f *testing.F) {
	f.Add(offerKey{1.5, "paris-1"}.String())
	f.Add(offerKey{-30_000, ""}.String())
	f.Add("!")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, cursor string) {
		k, err := parseOfferKey(cursor)
		if err != nil {
			if core.KindOf(err) != core.Invalid {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := parseOfferKey(k.String())
		if err != nil || again.compare(k) != 0 {
			t.Fatalf("%v became %v, %v", k, again, err)
		}
	})
}

func FuzzUploadDigest(f *testing.F) {
	d := core.DigestOf([]byte("x"))
	f.Add(d.String(), "")
	f.Add("", "sha-256=:"+base64.StdEncoding.EncodeToString(d[:])+":")
	f.Add("", "md5=:AA==:, sha-256=::")
	f.Fuzz(func(t *testing.T, digest, content string) {
		got, err := wantedDigest(http.Header{"Digest": {digest}, "Content-Digest": {content}})
		if err != nil && core.KindOf(err) != core.Invalid {
			t.Fatalf("%v", err)
		}
		if given := digest != "" || content != ""; err == nil && given == got.IsZero() {
			// Nobody can find bytes whose digest is all zeros, but they can name it.
			if _, zero := core.ParseDigest(digest); zero != nil && content == "" {
				t.Fatalf("%q, %q: %s", digest, content, got)
			}
		}
	})
}
