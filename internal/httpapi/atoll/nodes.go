package atoll

import (
	"context"
	"net/http"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/identity"
)

type (
	nodeInput struct {
		ID string `path:"id" maxLength:"63"`
	}

	drainBody struct {
		On *bool `json:"on" doc:"true: no new leases; false: resume"`
	}

	// LeasePath is embedded in the inputs of a lease's routes.
	LeasePath struct {
		ID param[core.LeaseID] `path:"id" doc:"lease_…"`
	}

	leaseResultInput struct {
		LeasePath
		RawBody []byte
	}

	digestInput struct {
		Digest param[core.Digest] `path:"digest" doc:"sha256:…"`
	}
)

func (s *server) addNodes() {
	const tag = "nodes"
	add(s, route{method: "GET", path: "/v1/nodes", id: "list-nodes", tag: tag, scope: auth.Read, summary: "List nodes", about: "All for an admin, one's own otherwise."},
		func(ctx context.Context, in *Paging) (*list[api.Node], error) {
			rows, err := s.ownNodes(ctx)
			if err != nil {
				return nil, err
			}
			return pageOf(rows, *in, func(n *api.Node) string { return string(n.ID) })
		})
	addBody(s, route{method: "POST", path: "/v1/nodes/{id}/drain", id: "drain-node", tag: tag, scope: auth.Requester, summary: "Stop or resume giving a node new leases", about: "For its owner and for an admin."},
		func(ctx context.Context, in *nodeInput, body *drainBody) (*reply[api.Node], error) {
			if body.On == nil {
				return nil, core.Errorf(core.Invalid, "want true to drain the node, or false to resume").At("on")
			}
			if err := s.checkOwner(ctx, core.NodeID(in.ID)); err != nil {
				return nil, err
			}
			return replyOf(s.hub.Drain(ctx, core.NodeID(in.ID), *body.On))
		})
	add(s, route{method: "DELETE", path: "/v1/nodes/{id}", id: "revoke-node", tag: tag, scope: auth.Requester, summary: "Lock a node out for good", about: "For its owner and for an admin. Its leases go elsewhere."},
		func(ctx context.Context, in *nodeInput) (*reply[api.Node], error) {
			if err := s.checkOwner(ctx, core.NodeID(in.ID)); err != nil {
				return nil, err
			}
			n, err := s.hub.Revoke(ctx, core.NodeID(in.ID))
			s.forgetNode(core.NodeID(in.ID))
			return replyOf(n, err)
		})
	addBody(s, route{method: "POST", path: "/v1/nodes/join", id: "join-node", tag: tag, scope: public, summary: "Join as a node", about: "Shown to be allowed by its join token and by its own signature."},
		func(ctx context.Context, _ *none, in *identity.JoinRequest) (*reply[identity.JoinGrant], error) {
			g, err := s.hub.Join(ctx, *in)
			s.forgetNode(in.Node) // a node that joins again gets another key
			return replyOf(g, err)
		})
	add(s, route{method: "GET", path: "/v1/node", id: "get-own-node", tag: tag, scope: auth.Node, summary: "See oneself as the hub does", about: "With the key that a node was given when it joined: its state, its record and what it has earned. 401 once the node is revoked."},
		func(ctx context.Context, _ *none) (*reply[api.Node], error) {
			return replyOf(s.hub.Node(ctx, callOf(ctx).p.Node))
		})
	add(s, route{method: "POST", path: "/v1/node/certificate", id: "renew-node-certificate", tag: tag, scope: auth.Node, summary: "Get the next certificate for mutual TLS", about: "Certificates are good for a month; a node that runs asks in time. 422 on a hub without a CA of its own, as on loopback."},
		func(ctx context.Context, _ *none) (*reply[api.NodeCertificate], error) {
			cert, err := s.hub.RenewCertificate(ctx, callOf(ctx).p.Node)
			return replyOf(api.NodeCertificate{Certificate: cert}, err)
		})
	s.addNodeData()
	if s.cfg.Relay != nil {
		s.addRelay()
	}
}

// addNodeData registers what nodes themselves use. Bytes are streamed.
func (s *server) addNodeData() {
	const tag, bytes = "for nodes", "application/octet-stream"
	addRaw[digestInput, reply[[]byte]](s, route{method: "GET", path: "/v1/node/models/{digest}", id: "get-node-model", tag: tag, scope: auth.Node, produces: bytes,
		summary: "Get the model of a lease that the node holds", about: "Or a range of it. Also models that the node is to keep, and those of which it holds layers.", serve: s.nodeModel})
	addRaw[digestInput, reply[[]byte]](s, route{method: "GET", path: "/v1/node/models/{digest}/chunks", id: "get-node-model-chunks", tag: tag, scope: auth.Node, produces: bytes,
		summary: "Get the digests of a model's chunks", about: "So that chunks can come from other nodes, too, each checked by itself. In the format atoll-chunks/1: the text atoll-chunks/1 and a line feed, the model's digest, its size in 8 bytes, the size of a chunk in 4, and the SHA-256 of each chunk. Integers are big-endian.", serve: s.nodeChunks})
	addRaw[LeasePath, reply[[]byte]](s, route{method: "GET", path: "/v1/node/leases/{id}/input", id: "get-lease-input", tag: tag, scope: auth.Node, produces: bytes,
		summary: "Get the input of a lease that the node holds", serve: s.leaseInput})
	addRaw[leaseResultInput, none](s, route{method: "PUT", path: "/v1/node/leases/{id}/result", id: "put-lease-result", tag: tag, scope: auth.Node, status: http.StatusNoContent,
		summary: "Store a result that is too large for the bus", serve: s.putResult})
}

// ownNodes are the nodes that the caller may see in full. What all may see of a
// node is its offer.
func (s *server) ownNodes(ctx context.Context) ([]api.Node, error) {
	rows, err := s.hub.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	v := viewer(ctx)
	own := make([]api.Node, 0, len(rows))
	for i := range rows {
		if v.Admin || rows[i].Owner == v.Account {
			own = append(own, rows[i])
		}
	}
	return own, nil
}

func (s *server) checkOwner(ctx context.Context, id core.NodeID) error {
	own, err := s.ownNodes(ctx)
	if err != nil {
		return err
	}
	for i := range own {
		if own[i].ID == id {
			return nil
		}
	}
	return core.Errorf(core.NotFound, "no node %.80s", id)
}

func (s *server) forgetNode(id core.NodeID) {
	s.forget(func(p *auth.Principal) bool { return p.Node == id })
}

// forget ends what rests on keys that have become void.
func (s *server) forget(match func(*auth.Principal) bool) {
	s.keys.Forget(match)
	if s.cfg.Relay != nil {
		s.cfg.Relay.Cut(match)
	}
}

func (s *server) nodeModel(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	d, err := pathDigest(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	f, err := s.hub.NodeModel(r.Context(), p.Node, d)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer f.Close()
	s.serveContent(w, r, f)
}

func (s *server) nodeChunks(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	s.streamTo(w, r, func(st *Stream) error {
		d, err := pathDigest(r)
		if err != nil {
			return err
		}
		m, err := s.hub.NodeChunks(r.Context(), p.Node, d)
		if err != nil {
			return err
		}
		b, err := m.AppendBinary(nil)
		if err != nil {
			return err
		}
		_, err = st.Write(b)
		return err
	})
}

func pathDigest(r *http.Request) (core.Digest, error) {
	d, err := core.ParseDigest(r.PathValue("digest"))
	if err != nil {
		return d, core.Errorf(core.Invalid, "%w", err).At("digest")
	}
	return d, nil
}

func (s *server) leaseInput(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	id, err := leaseID(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.streamTo(w, r, func(st *Stream) error { return s.hub.LeaseInput(r.Context(), p.Node, id, st) })
}

func (s *server) putResult(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	id, err := leaseID(r)
	if err == nil {
		err = checkEncoding(w, r.Header)
	}
	if err == nil && r.ContentLength > s.cfg.MaxResult {
		err = core.Errorf(core.TooLarge, "the result is larger than %d bytes", s.cfg.MaxResult)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	body := s.upload(w, r, s.cfg.MaxResult)
	if err := body.done(s.hub.PutResult(r.Context(), p.Node, id, body)); err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func leaseID(r *http.Request) (id core.LeaseID, err error) {
	if err := id.UnmarshalText([]byte(r.PathValue("id"))); err != nil {
		return 0, core.Errorf(core.Invalid, "%w", err).At("id")
	}
	return id, nil
}
