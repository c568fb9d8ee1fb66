package atoll

import (
	"net/http"

	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/httpapi/conns"
)

// guard lets a request through to h if its key has the scope and its caller has
// not asked too often.
func (s *server) guard(rt route, h handler) http.HandlerFunc {
	scope, fail := rt.scope, rt.fail
	if fail == nil {
		fail = writeProblem
	}
	switch scope {
	case open:
		return func(w http.ResponseWriter, r *http.Request) { h(w, r, nil) }
	case public:
		return func(w http.ResponseWriter, r *http.Request) {
			if err := s.byAddress.Allow(w.Header(), conns.Key(r.RemoteAddr)); err != nil {
				s.failAs(w, r, err, fail)
				return
			}
			h(w, r, nil)
		}
	}
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := s.keys.Principal(r)
		if err != nil {
			// Guessing keys is slowed down, whoever is guessed.
			if core.KindOf(err) == core.Unauthorized {
				if slow := s.byAddress.Allow(w.Header(), conns.Key(r.RemoteAddr)); slow != nil {
					err = slow
				}
			}
			s.failAs(w, r, err, fail)
			return
		}
		exchangeOf(w).key = p.KeyID
		if err := s.byKey.Allow(w.Header(), p.KeyID); err != nil {
			s.failAs(w, r, err, fail)
			return
		}
		if !p.Has(scope) || (scope == auth.Node && p.Node == "") {
			s.failAs(w, r, core.Errorf(core.Forbidden, "the key does not have the scope %s", scope).WithHint("ask the operator for a key with that scope; \"atoll doctor\" shows which ones this key has"), fail)
			return
		}
		h(w, r, p)
	}
}
