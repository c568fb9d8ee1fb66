package api_test

import (
	"errors"
	"testing"

	"atoll/api"
	"atoll/internal/core"
)

// A service that had a callback would tell its owner of other accounts' tasks.
func TestServiceHasNoCallback(t *testing.T) {
	t.Parallel()
	s := api.ServiceSpec{Model: "triage@1"}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	s.Callback = &api.Callback{URL: "https://example.com/"}
	if e, ok := errors.AsType[*core.Error](s.Validate()); !ok || e.Field != "callback" {
		t.Errorf("%v", s.Validate())
	}
}
