package app

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"atoll/internal/core"
	"atoll/internal/durable"
	"atoll/internal/llm/coral"
	"atoll/internal/request"
)

// ensureAdmin returns the operator's key, made at the first start and kept in a
// file that only the operator can read.
func (h *Hub) ensureAdmin(ctx context.Context) (string, error) {
	path := h.path("admin.key")
	if b, err := os.ReadFile(path); err == nil {
		return strings.TrimSpace(string(b)), nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if _, err := h.Control.CreateAccount(ctx, "admin", 0, ""); err != nil && core.KindOf(err) != core.Conflict {
		return "", err
	}
	k, err := h.Control.CreateKey(ctx, "admin", []string{"admin", "requester", "read"})
	if err != nil {
		return "", err
	}
	return k.Secret, durable.WriteFile(path, []byte(k.Secret+"\n"), durable.Private)
}

// fund gives a laptop's operator credits to try things with, once.
func (h *Hub) fund(ctx context.Context) error {
	_, err := h.Control.Credit(ctx, "admin", 1000*core.Credit, "laptop", "to try things with")
	return err
}

// stock gives a laptop's hub the language model that is part of the program, so
// that there is one to try without any download.
func (h *Hub) stock(ctx context.Context) error {
	v, file := request.Viewer{Account: "admin", Admin: true}, coral.Open()
	digest, _, err := h.Control.PutBlob(ctx, v, file, core.Digest{}, file.Size())
	if err != nil {
		return err
	}
	models, err := h.Control.Models(ctx)
	if err != nil {
		return err
	}
	for _, m := range models {
		if m.Name == coral.Name && m.Digest == digest { // later versions may be there, of whoever made them
			return nil
		}
	}
	_, err = h.Control.RegisterModel(ctx, v, request.ModelUpload{Name: coral.Name, Engine: coral.Engine, Digest: digest, Description: coral.Description})
	return err
}

// ready is the content of --ready-file.
type ready struct {
	URL      string        `json:"url"`
	AdminKey string        `json:"admin_key"`
	Nodes    []core.NodeID `json:"nodes"`
}

func writeReady(path string, r ready) error {
	if path == "" {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(b, '\n'), durable.Private)
}
