package control

import (
	"fmt"
	"strings"
	"testing"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/request"
)

// An account that takes name after name comes to an end; what it has can still be
// changed.
func TestServicesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := request.Viewer{Account: "acme"}
	put := func(i int) error {
		_, err := w.hub.PutService(t.Context(), v, fmt.Sprintf("name-%d", i), api.ServiceSpec{Model: "echo"})
		return err
	}
	for i := range maxServices {
		if err := put(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(maxServices); core.KindOf(err) != core.Throttled {
		t.Errorf("one more: %v", err)
	}
	if err := put(0); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

// A classifier answers no prompts, so it is not put behind the OpenAI API.
func TestClassifiersAreNotServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := request.Viewer{Account: "demo"}
	if _, err := w.hub.RegisterModel(t.Context(), v, request.ModelUpload{Name: "triage", Engine: "text", Digest: w.model.Digest}); err != nil {
		t.Fatal(err)
	}
	_, err := w.hub.PutService(t.Context(), v, "triage", api.ServiceSpec{Model: "triage"})
	if core.KindOf(err) != core.Invalid || !strings.Contains(err.Error(), "triage@1 is a classifier") {
		t.Errorf("served: %v", err)
	}
}
