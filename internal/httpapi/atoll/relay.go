package atoll

import (
	"net/http"

	"atoll/internal/auth"
	"atoll/internal/core"
)

// addRelay registers what package relay specifies. Its connections are upgraded, and
// speak HTTP no more.
func (s *server) addRelay() {
	const tag = "for nodes"
	addRaw[none, none](s, route{method: "GET", path: "/v1/node/relay", id: "attach-to-relay", tag: tag, scope: auth.Node, status: http.StatusSwitchingProtocols,
		summary: "Be reached by nodes that cannot dial this one", about: "With Connection: Upgrade and Upgrade: atoll-relay/1. What the hub carries is encrypted between the nodes.",
		serve: func(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
			if err := s.cfg.Relay.Attach(w, r, p, s.stillValid(r)); err != nil {
				s.fail(w, r, err)
			}
		}})
	addRaw[nodeInput, none](s, route{method: "GET", path: "/v1/node/relay/{id}", id: "connect-through-relay", tag: tag, scope: auth.Node, status: http.StatusSwitchingProtocols,
		summary: "Talk to a node that is attached to the relay", about: "With Connection: Upgrade and Upgrade: atoll-relay/1. 503 if the node is not attached, or one of the two, or the hub, has too many connections.",
		serve: func(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
			if err := s.cfg.Relay.Connect(w, r, p, core.NodeID(r.PathValue("id")), s.stillValid(r)); err != nil {
				s.fail(w, r, err)
			}
		}})
}

// stillValid looks again at a request's key. What forget has dropped is asked of the hub.
func (s *server) stillValid(r *http.Request) func() error {
	return func() error {
		_, err := s.keys.Principal(r)
		return err
	}
}
