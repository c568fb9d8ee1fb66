package cli

import (
	"fmt"
	"strings"
	"time"

	"atoll/internal/fed"
)

// Times on the clock of a simulation in which sites are slow.
const (
	trains  = 10 * time.Second
	answers = 100 * time.Millisecond // to what takes no training
)

// slowed reads --slow.
func slowed(items []string, sites int) (func(int, *fed.Reply, bool) time.Duration, error) {
	if len(items) == 0 {
		return nil, nil
	}
	times := map[int]float64{}
	for _, item := range items {
		var site int
		var by float64
		number, factor, ok := strings.Cut(item, "@")
		_, err := fmt.Sscan(number, &site)
		if _, err2 := fmt.Sscan(factor, &by); err != nil || err2 != nil || !ok || site < 1 || site > sites || !(by > 0 && by < 1e6) {
			return nil, usagef("--slow %s: want a site from 1 to %d and how many times as long it takes, such as 2@10", item, sites)
		}
		times[site-1] = by
	}
	return func(site int, _ *fed.Reply, trained bool) time.Duration {
		if !trained {
			return answers
		}
		if by := times[site]; by > 0 {
			return time.Duration(by * float64(trains))
		}
		return trains
	}, nil
}
