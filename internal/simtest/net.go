package simtest

import (
	"time"
)

// link is the path between a node and the hub, or a client and the hub.
type link struct {
	name   string
	loss   float64 // share of messages that vanish
	double float64 // share that arrive twice
	late   float64 // share that take up to lateBy
	lateBy time.Duration
	delay  time.Duration // most of what the others take
	cut    int           // partitions in force
}

// carry takes a message to the other end, or does not, or does it twice.
// Messages overtake each other.
func (w *World) carry(l *link, what string, deliver func()) {
	copies := 1
	if !w.healed {
		switch {
		case l.cut > 0 || w.chance(l.loss):
			w.say("net %s: %s is lost", l.name, what)
			return
		case w.chance(l.double):
			copies = 2
		}
	}
	for range copies {
		d := w.between(200*time.Microsecond, l.delay)
		if !w.healed && w.chance(l.late) {
			d = w.between(l.delay, l.lateBy)
		}
		w.after(d, func() {
			if l.cut > 0 && !w.healed {
				w.say("net %s: %s is lost on the way", l.name, what)
				return
			}
			deliver()
		})
	}
}
