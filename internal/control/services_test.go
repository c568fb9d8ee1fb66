package control

import (
	"fmt"
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
