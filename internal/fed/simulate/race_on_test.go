//go:build race

package simulate

// underRace: measuring accuracy runs in one goroutine and takes minutes under
// the race detector, which has nothing to find there.
const underRace = true
