package measure

import (
	"crypto/sha256"
	"time"
)

// rate calls work, which does n units, until it has taken about limit, and
// returns units per second.
func rate(limit time.Duration, n int64, work func()) int64 {
	work() // warm up
	start, units := time.Now(), int64(0)
	for {
		work()
		units += n
		if d := time.Since(start); d >= limit {
			return int64(float64(units) / d.Seconds())
		}
	}
}

// hashRate is bytes per second through SHA-256, which every blob passes.
func hashRate(limit time.Duration) int64 {
	buf := make([]byte, 64<<10)
	return rate(limit, int64(len(buf)), func() {
		sum := sha256.Sum256(buf)
		copy(buf, sum[:]) // each round depends on the one before
	})
}

// intRate is multiply-adds per second in a chain: the speed of one core in
// plain code, whatever its vector units.
func intRate(limit time.Duration) int64 {
	const steps = 1 << 16
	x := uint64(1)
	r := rate(limit, steps, func() {
		for range steps {
			x = x*6364136223846793005 + 1442695040888963407
		}
	})
	if x == 0 { // never, but the compiler cannot know and must do the work
		return 0
	}
	return r
}
