package openai

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

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

	// PutFile keeps what r has, at most limit bytes of it; about tells the rest once
	// r has been read.
	PutFile(ctx context.Context, v request.Viewer, r io.Reader, limit int64, about func() (request.NewFile, error)) (request.File, error)
	File(ctx context.Context, v request.Viewer, id core.FileID) (request.File, error)
	Files(ctx context.Context, v request.Viewer, q request.FileQuery) ([]*request.File, error)
	OpenFile(f *request.File) (io.ReadCloser, error)
	DeleteFile(ctx context.Context, v request.Viewer, id core.FileID) error

	// Batch finds what makes a task a batch; core.NotFound if it is none.
	Batch(ctx context.Context, v request.Viewer, id core.TaskID) (request.Batch, error)
	Batches(ctx context.Context, v request.Viewer, before core.TaskID, limit int) ([]*request.Batch, error)
	// FinishBatch keeps what has come of a batch that has ended, once, and makes
	// files of its output and its errors.
	FinishBatch(ctx context.Context, id core.TaskID, done request.BatchDone, output, failures request.File) (request.Batch, error)
	Task(ctx context.Context, v request.Viewer, id core.TaskID) (api.Task, error)
	Parts(ctx context.Context, v request.Viewer, id core.TaskID, p request.Page) (parts []api.Part, next string, err error)
	PartInput(ctx context.Context, v request.Viewer, id core.TaskID, part int, w io.Writer) error
}

// Config for Mounts. Hub and Log are required.
type Config struct {
	Hub     Hub
	Log     *slog.Logger
	MaxBody int64        // bytes of a JSON body; default 8 MiB
	Seed    func() int64 // of requests that name none; default random
}

type server struct {
	hub     Hub
	cfg     Config
	batches *semaphore.Weighted // that are read or counted now
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
	s := &server{hub: cfg.Hub, cfg: cfg, batches: semaphore.NewWeighted(batchesAtOnce)}
	route := func(method, path, id, scope, summary string, serve func(*atoll.Exchange) error) atoll.Mount {
		return atoll.Mount{Method: method, Path: path, ID: id, Tag: "openai", Scope: scope, Summary: summary, Serve: serve, Fail: fail}
	}
	return []atoll.Mount{
		route(http.MethodPost, "/v1/chat/completions", "openai-chat", auth.Requester, "Answer a conversation, as OpenAI's API does", s.chat),
		route(http.MethodPost, "/v1/completions", "openai-completions", auth.Requester, "Continue a text, as OpenAI's API does", s.completions),
		route(http.MethodPost, "/v1/embeddings", "openai-embeddings", auth.Requester, "Turn texts into vectors, as OpenAI's API does", s.embeddings),
		route(http.MethodPost, "/v1/files", "openai-put-file", auth.Requester, "Upload a file, as OpenAI's API does", s.putFile),
		route(http.MethodGet, "/v1/files", "openai-list-files", auth.Read, "List one's files", s.listFiles),
		route(http.MethodGet, "/v1/files/{id}", "openai-get-file", auth.Read, "Get a file's name, size and purpose", s.getFile),
		route(http.MethodGet, "/v1/files/{id}/content", "openai-get-file-content", auth.Read, "Get what a file contains", s.fileContent),
		route(http.MethodDelete, "/v1/files/{id}", "openai-delete-file", auth.Requester, "Delete a file", s.deleteFile),
		route(http.MethodPost, "/v1/batches", "openai-create-batch", auth.Requester, "Have many requests of a file done, as OpenAI's API does", s.createBatch),
		route(http.MethodGet, "/v1/batches", "openai-list-batches", auth.Read, "List one's batches", s.listBatches),
		route(http.MethodGet, "/v1/batches/{id}", "openai-get-batch", auth.Read, "See how far a batch is", s.getBatch),
		route(http.MethodPost, "/v1/batches/{id}/cancel", "openai-cancel-batch", auth.Requester, "End a batch; what has been done stays", s.cancelBatch),
	}, nil
}

// Times of a completion's task, unless the request or its service says otherwise:
// answers of slow machines take longer than tasks usually do.
const (
	executionTime = api.Duration(10 * time.Minute)
	cancelWithin  = 5 * time.Second
)
