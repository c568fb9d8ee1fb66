package agent

import (
	"cmp"
	"slices"
	"time"
)

// Bounds on the models that stay in memory while nobody uses them.
const (
	maxLoaded = 32
	// leastLoadedBytes of model files stay on any machine; on larger ones, half of
	// the memory that is offered.
	leastLoadedBytes = 512 << 20
	// keepFor is how long the hub's wish to keep a model holds if it is not said
	// again.
	keepFor = 30 * time.Second
)

func loadedBytes(offered int64) int64 { return max(leastLoadedBytes, offered/2) }

// leavers decides which models leave memory so that those that stay are at most
// count, and at most limit bytes: of those that nobody uses, the longest unused
// first. Models that are kept leave after all others, or, with spare, not at all.
func leavers(models []*loaded, now time.Time, count int, limit int64, spare bool) (out []*loaded, enough bool) {
	var bytes int64
	var idle []*loaded
	for _, m := range models {
		bytes += m.size
		if m.users == 0 && (!spare || !now.Before(m.keptUntil)) {
			idle = append(idle, m)
		}
	}
	slices.SortFunc(idle, func(a, b *loaded) int {
		if ka, kb := now.Before(a.keptUntil), now.Before(b.keptUntil); ka != kb {
			if kb {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.used, b.used)
	})
	for _, m := range idle {
		if len(models)-len(out) <= count && bytes <= limit {
			break
		}
		out = append(out, m)
		bytes -= m.size
	}
	return out, len(models)-len(out) <= count && bytes <= limit
}
