package atoll

import (
	"context"

	"atoll/api"
	"atoll/internal/auth"
)

// raw is an answer whose bytes are fixed already: what is signed must arrive as
// it is.
type raw struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

func rawOf(contentType string, body []byte, err error) (*raw, error) {
	if err != nil {
		return nil, err
	}
	return &raw{contentType, body}, nil
}

func (s *server) addReceipts() {
	const tag = "receipts"
	add(s, route{method: "GET", path: "/v1/receipts/{id}", id: "get-receipt", tag: tag, scope: auth.Read, produces: bundleType,
		summary: "Get a node's receipt for a lease", about: "A Sigstore bundle. 503 until a checkpoint of the log covers it."},
		func(ctx context.Context, in *LeasePath) (*raw, error) {
			b, err := s.hub.Receipt(ctx, viewer(ctx), in.ID.Value)
			return rawOf(bundleType, b, err)
		})
	add(s, route{method: "GET", path: "/v1/receipts/{id}/verdict", id: "get-verdict", tag: tag, scope: auth.Read, produces: bundleType,
		summary: "Get the hub's verdict on a lease", about: "A Sigstore bundle. 503 until a checkpoint of the log covers it."},
		func(ctx context.Context, in *LeasePath) (*raw, error) {
			b, err := s.hub.Verdict(ctx, viewer(ctx), in.ID.Value)
			return rawOf(bundleType, b, err)
		})
	add(s, route{method: "GET", path: "/.well-known/atoll/trusted-root.json", id: "get-trusted-root", tag: tag, scope: open, produces: "application/json",
		summary: "Get the keys that bundles are checked with", about: "A Sigstore trusted root."},
		func(ctx context.Context, _ *none) (*raw, error) {
			b, err := s.hub.TrustedRoot(ctx)
			return rawOf("application/json", b, err)
		})
	add(s, route{method: "GET", path: "/.well-known/atoll/keys.json", id: "get-signing-keys", tag: tag, scope: open,
		summary: "Get the keys that receipts and verdicts are signed with", about: "Of the hub and of every node that has ever joined it."},
		func(ctx context.Context, _ *none) (*reply[api.SigningKeys], error) {
			return replyOf(s.hub.SigningKeys(ctx))
		})
	if s.cfg.LogHandler == nil {
		return
	}
	addRaw[none, raw](s, route{method: "GET", path: "/v1/log/checkpoint", id: "get-checkpoint", tag: tag, scope: open, produces: "text/plain",
		summary: "Get the log's newest checkpoint", about: "A C2SP signed note.", serve: s.log})
	addRaw[tileInput, raw](s, route{method: "GET", path: "/v1/log/tile/{path}", pattern: "/v1/log/tile/{path...}", id: "get-tile", tag: tag, scope: open, produces: "application/octet-stream",
		summary: "Get a tile of the log, or a bundle of its entries", about: "C2SP tlog-tiles. The path has several segments.", serve: s.log})
}

type tileInput struct {
	Path string `path:"path"`
}
