package shard

import "errors"

// standstill is how often in a row a line was looked at and nothing had gone on,
// although the head waited for tokens and no stage computed. Whoever holds it up
// answers orders, but not its neighbours: by mistake or on purpose.
type standstill struct {
	done  int64 // tokens and positions, all together
	looks int
}

// maxLooks is how many looks that may be: four make LineConfig.Patience.
const maxLooks = 12

var errStandstill = errors.New("nothing goes on from here, though nobody is busy")

// look returns the stage that a line hangs at, or −1: the first that has not computed
// what the head has. If all say that they have, it is the last, which should have
// drawn a token.
func (s *standstill) look(head *report, heard int64, waits bool, stages []*report) int {
	busy, done := !waits, heard
	for _, r := range stages {
		if r == nil || r.WaitMs > 0 {
			busy = true
		} else {
			done += r.Computed
		}
	}
	if busy || done != s.done {
		s.done, s.looks = done, 0
		return -1
	}
	if s.looks++; s.looks < maxLooks {
		return -1
	}
	s.looks = 0
	for i, r := range stages {
		if r.Held < head.Held {
			return i
		}
	}
	return len(stages) - 1
}
