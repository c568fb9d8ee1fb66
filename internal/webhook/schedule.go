package webhook

import (
	"math/rand/v2"
	"time"
)

const (
	firstDelay  = 5 * time.Second
	delayFactor = 3
	maxDelay    = 6 * time.Hour
	maxAttempts = 12 // the first, and 11 retries within 18 to 27 hours
)

// Next says how long to wait after a delivery's attempt-th failed attempt
// (counted from 1), or to give up: 5 s, 15 s, 45 s, … up to 6 h, each longer or
// shorter by up to a fifth. The jitter follows from id and attempt alone, so
// that deliveries which failed together do not come back together and a
// schedule can be replayed.
func Next(attempt int, id uint64) (delay time.Duration, giveUp bool) {
	if attempt >= maxAttempts {
		return 0, true
	}
	delay = firstDelay
	for i := 1; i < attempt && delay < maxDelay; i++ {
		delay *= delayFactor
	}
	delay = min(delay, maxDelay)
	spread := int64(delay) * 2 / 5
	return delay - delay/5 + time.Duration(rand.New(rand.NewPCG(id, uint64(attempt))).Int64N(spread+1)), false
}
