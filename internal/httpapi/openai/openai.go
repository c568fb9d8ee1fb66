package openai

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/request"
)

// Hub is what this API needs of the hub; internal/control implements it. Errors
// carry a core.Kind.
type Hub interface {
	// Service finds what is served under a name; core.NotFound if that is none.
	Service(ctx context.Context, name string) (api.Service, error)
	Submit(ctx context.Context, s request.Submission) (api.SubmitReply, error)
	// Preview returns what is known of a task's result after its first from bytes,
	// and a channel that is closed when that may have changed; nil if it will not.
	Preview(v request.Viewer, id core.TaskID, from int) (more []byte, changed <-chan struct{})
	// Wait returns when the task has ended or ctx is done, with its state then.
	Wait(ctx context.Context, v request.Viewer, id core.TaskID) (api.Task, error)
	PartResult(ctx context.Context, v request.Viewer, id core.TaskID, part int, w io.Writer) error
	Cancel(ctx context.Context, v request.Viewer, id core.TaskID) (api.Task, error)
}

// Config for Mounts. Hub and Log are required.
type Config struct {
	Hub     Hub
	Log     *slog.Logger
	MaxBody int64        // bytes of a JSON body; default 8 MiB
	Seed    func() int64 // of requests that name none; default random
}

type server struct {
	hub Hub
	cfg Config
}

// Mounts returns the routes of the API.
func Mounts(cfg Config) ([]atoll.Mount, error) {
	if cfg.Hub == nil || cfg.Log == nil {
		return nil, errors.New("openai: Hub and Log are required")
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 8 << 20
	}
	if cfg.Seed == nil {
		cfg.Seed = rand.Int64
	}
	s := &server{hub: cfg.Hub, cfg: cfg}
	route := func(method, path, id, scope, summary string, serve func(*atoll.Exchange) error) atoll.Mount {
		return atoll.Mount{Method: method, Path: path, ID: id, Tag: "openai", Scope: scope, Summary: summary, Serve: serve, Fail: fail}
	}
	return []atoll.Mount{
		route(http.MethodPost, "/v1/chat/completions", "openai-chat", auth.Requester, "Answer a conversation, as OpenAI's API does", s.chat),
		route(http.MethodPost, "/v1/completions", "openai-completions", auth.Requester, "Continue a text, as OpenAI's API does", s.completions),
		route(http.MethodPost, "/v1/embeddings", "openai-embeddings", auth.Requester, "Turn texts into vectors, as OpenAI's API does", s.embeddings),
	}, nil
}

// Times of a completion's task, unless the request or its service says otherwise:
// answers of slow machines take longer than tasks usually do.
const (
	executionTime = api.Duration(10 * time.Minute)
	cancelWithin  = 5 * time.Second
)
