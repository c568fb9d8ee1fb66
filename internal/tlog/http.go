package tlog

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

// HandlerConfig for NewHandler. All is required.
type HandlerConfig struct {
	Tree *Tree
	// Published returns the newest signed checkpoint and its size; nil before
	// the first one. Nothing beyond it is served.
	Published func() (note []byte, size int64)
	Bodies    Bodies
	Log       *slog.Logger
}

const (
	foreverCache = "public, max-age=31536000, immutable"
	neverCache   = "no-cache"
)

// NewHandler serves the read paths of tlog-tiles:
//
//	GET /checkpoint
//	GET /tile/{level}/{n}[.p/{width}]
//	GET /tile/entries/{n}[.p/{width}]
//
// Tiles are immutable and say so to caches; the checkpoint must be revalidated.
// What is malformed is answered with 400, what is not (yet) published with 404.
func NewHandler(cfg HandlerConfig) (http.Handler, error) {
	if cfg.Tree == nil || cfg.Published == nil || cfg.Bodies == nil || cfg.Log == nil {
		return nil, errors.New("tlog: Tree, Published, Bodies and Log are required")
	}
	h := &handler{cfg}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /checkpoint", h.checkpoint)
	mux.HandleFunc("GET /tile/entries/{n...}", h.entries)
	mux.HandleFunc("GET /tile/{level}/{n...}", h.tile)
	return mux, nil
}

type handler struct{ cfg HandlerConfig }

func (h *handler) checkpoint(w http.ResponseWriter, _ *http.Request) {
	note, _ := h.cfg.Published()
	if note == nil {
		refuse(w, http.StatusNotFound, "no checkpoint has been published yet")
		return
	}
	send(w, "text/plain; charset=utf-8", neverCache, note)
}

func (h *handler) tile(w http.ResponseWriter, r *http.Request) {
	level, err := strconv.ParseUint(r.PathValue("level"), 10, 8)
	n, width, ok := parseTileName(r.PathValue("n"))
	if err != nil || level > 63 || strconv.FormatUint(level, 10) != r.PathValue("level") || !ok {
		refuse(w, http.StatusBadRequest, "want tile/LEVEL/NNN or tile/LEVEL/NNN.p/WIDTH")
		return
	}
	if !h.published(w, level*tileHeight, n, width) {
		return
	}
	data, err := h.cfg.Tree.tile(int(level), n, width)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	send(w, "application/octet-stream", foreverCache, data)
}

func (h *handler) entries(w http.ResponseWriter, r *http.Request) {
	n, width, ok := parseTileName(r.PathValue("n"))
	if !ok {
		refuse(w, http.StatusBadRequest, "want tile/entries/NNN or tile/entries/NNN.p/WIDTH")
		return
	}
	if !h.published(w, 0, n, width) {
		return
	}
	data, err := bundle(r.Context(), h.cfg.Bodies, n*tileWidth, n*tileWidth+int64(width))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	send(w, "application/octet-stream", foreverCache, data)
}

// bundle is a tile's worth of leaves, each after its length in 16 bits.
func bundle(ctx context.Context, bodies Bodies, first, end int64) ([]byte, error) {
	var out []byte
	for body, err := range bodies(ctx, first, end) {
		if err != nil {
			return nil, err
		}
		if len(body) > MaxLeaf {
			return nil, ErrLeafSize
		}
		out = binary.BigEndian.AppendUint16(out, uint16(len(body)))
		out = append(out, body...)
		first++
	}
	if first != end {
		return nil, errors.New("tlog: leaves are missing in the database")
	}
	return out, nil
}

// published reports whether the checkpoint covers the hashes that are asked for.
func (h *handler) published(w http.ResponseWriter, shift uint64, n int64, width int) bool {
	_, size := h.cfg.Published()
	if have := size >> min(shift, 63); n > have/tileWidth || n*tileWidth+int64(width) > have {
		refuse(w, http.StatusNotFound, "not in the published tree of size "+strconv.FormatInt(size, 10))
		return false
	}
	return true
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	h.cfg.Log.ErrorContext(r.Context(), "log tile", "path", r.URL.Path, "error", err)
	refuse(w, http.StatusInternalServerError, "the log could not be read")
}

func send(w http.ResponseWriter, contentType, cache string, data []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(data) // an error means that the caller has gone
}

func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Cache-Control", neverCache)
	http.Error(w, strings.TrimSpace(why), code)
}
