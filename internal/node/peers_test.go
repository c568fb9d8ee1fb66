package node

import (
	"context"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"atoll/internal/peer"
)

// Others who measure the way to a node again and again are left.
func TestProbesAreFew(t *testing.T) {
	t.Parallel()
	answered := 0
	h := seldom(rate.NewLimiter(rate.Every(time.Hour), probeBurst), func(context.Context, peer.Stream) { answered++ })
	for range 3 * probeBurst {
		h(t.Context(), nil)
	}
	if answered != probeBurst {
		t.Errorf("%d of %d are answered, want %d", answered, 3*probeBurst, probeBurst)
	}
}
