package atoll

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
)

type (
	blobInput struct {
		Digest        param[core.Digest] `header:"Digest" doc:"sha256:…; the upload is refused if it has another"`
		ContentDigest string             `header:"Content-Digest" doc:"the same as RFC 9530 writes it: sha-256=:…:"`
		RawBody       []byte
	}

	modelInput struct {
		ID string `path:"id" maxLength:"128" doc:"name@version, or name for the latest"`
	}
)

func (s *server) addModels() {
	const tag = "models"
	addRaw[blobInput, reply[api.Blob]](s, route{method: "POST", path: "/v1/blobs", id: "put-blob", tag: tag, scope: auth.Requester, status: http.StatusCreated,
		summary: "Upload bytes", about: "They are named by their digest, in inputs (blob:sha256:…) and in models.", serve: s.putBlob})
	addBody(s, route{method: "POST", path: "/v1/models", id: "register-model", tag: tag, scope: auth.Requester, status: http.StatusCreated,
		summary: "Register uploaded bytes as a model", about: "Gives them the name's next version. The same bytes under the same name are the same version."},
		func(ctx context.Context, _ *none, up *ModelUpload) (*created[api.Model], error) {
			m, err := s.hub.RegisterModel(ctx, viewer(ctx), *up)
			if err != nil {
				return nil, err
			}
			return &created[api.Model]{"/v1/models/" + m.ID, m}, nil
		})
	add(s, route{method: "GET", path: "/v1/models", id: "list-models", tag: tag, scope: auth.Read, summary: "List all versions of all models"},
		func(ctx context.Context, in *Paging) (*list[api.Model], error) {
			rows, err := s.hub.Models(ctx)
			if err != nil {
				return nil, err
			}
			return pageOf(rows, *in, func(m *api.Model) string { return m.ID })
		})
	add(s, route{method: "GET", path: "/v1/models/{id}", id: "get-model", tag: tag, scope: auth.Read, summary: "Get a model"},
		func(ctx context.Context, in *modelInput) (*reply[api.Model], error) {
			return replyOf(s.hub.Model(ctx, in.ID))
		})
}

func (s *server) putBlob(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	want, err := wantedDigest(r.Header)
	if err == nil {
		err = checkEncoding(w, r.Header)
	}
	if err == nil && r.ContentLength > s.cfg.MaxBlob {
		err = core.Errorf(core.TooLarge, "the upload is larger than %d bytes", s.cfg.MaxBlob)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	body := s.upload(w, r, s.cfg.MaxBlob)
	digest, size, err := s.hub.PutBlob(r.Context(), viewerOf(p), body, want, s.cfg.MaxBlob)
	if err := body.done(err); err != nil {
		s.fail(w, r, err)
		return
	}
	s.answer(w, http.StatusCreated, api.Blob{Digest: digest, Size: size})
}

// wantedDigest reads the digest that the client says its upload has, if any.
func wantedDigest(h http.Header) (core.Digest, error) {
	text := h.Get("Digest")
	content := h.Get("Content-Digest")
	switch {
	case text != "" && content != "":
		return core.Digest{}, core.Errorf(core.Invalid, "send one of Digest and Content-Digest").At("Digest")
	case text != "":
		d, err := core.ParseDigest(text)
		if err != nil {
			return core.Digest{}, core.Errorf(core.Invalid, "%w", err).At("Digest")
		}
		return d, nil
	case content != "":
		for item := range strings.SplitSeq(content, ",") {
			coded, ok := strings.CutPrefix(strings.TrimSpace(item), "sha-256=:")
			coded, closed := strings.CutSuffix(coded, ":")
			if b, err := base64.StdEncoding.DecodeString(coded); ok && closed && err == nil && len(b) == sha256.Size {
				return core.Digest(b), nil
			}
		}
		return core.Digest{}, core.Errorf(core.Invalid, "want sha-256=:…: with 44 characters of base64").At("Content-Digest")
	}
	return core.Digest{}, nil
}
