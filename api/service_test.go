package api_test

import (
	"errors"
	"testing"

	"atoll/api"
	"atoll/internal/core"
)

// A service that had these would tell its owner of other accounts' tasks, foresee
// their lots, or spend their credit.
func TestServiceSpeaksForNobody(t *testing.T) {
	t.Parallel()
	for field, set := range map[string]func(*api.ServiceSpec){
		"":                   func(s *api.ServiceSpec) { s.Budget = &api.Budget{MaxCost: core.Credit} },
		"callback":           func(s *api.ServiceSpec) { s.Callback = &api.Callback{URL: "https://example.com/"} },
		"verification.nonce": func(s *api.ServiceSpec) { s.Verification = &api.Verification{Method: "reexecute", Nonce: "mine"} },
		"budget.max_cost":    func(s *api.ServiceSpec) { s.Budget = &api.Budget{MaxCost: core.Credit + 1} },
	} {
		s := api.ServiceSpec{Model: "triage@1"}
		set(&s)
		err := s.Validate()
		if e, ok := errors.AsType[*core.Error](err); field == "" && err != nil || field != "" && (!ok || e.Field != field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
