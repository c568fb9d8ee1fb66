package charter

import (
	"time"

	"atoll/internal/planted"
)

// Book has the charters that a node has heard and that are good still. Charters are
// said again and again, and may come late, twice, and after their line's end. It is not
// safe for concurrent use; its zero value is empty.
type Book struct {
	told map[ID]told
	over map[ID]int64 // lines that have ended, and what was last sealed of them
}

type told struct {
	*Charter
	until time.Time
}

// mostOver bounds the lines that are remembered to have ended.
const mostOver = 1024

// Hear takes a charter, and reports whether it says anything that was not known.
func (b *Book) Hear(c *Charter, now time.Time) bool {
	if b.told == nil {
		b.told, b.over = map[ID]told{}, map[ID]int64{}
	}
	switch had, ok := b.told[c.Line]; {
	case ok && had.SealedMs >= c.SealedMs:
		return false
	case !ok && !planted.Charter && (c.TTLMs == Over || b.over[c.Line] >= c.SealedMs): // a late copy
		return false
	}
	b.told[c.Line] = told{c, now.Add(c.TTL())}
	return true
}

// Of is a line's charter; nil: none is in force.
func (b *Book) Of(id ID, now time.Time) *Charter {
	if t, ok := b.told[id]; ok && now.Before(t.until) {
		return t.Charter
	}
	return nil
}

// InForce lists all charters that are, in no order.
func (b *Book) InForce(now time.Time) (out []*Charter) {
	for _, t := range b.told {
		if now.Before(t.until) {
			out = append(out, t.Charter)
		}
	}
	return out
}

// Expire forgets what is no longer in force, and returns the lines.
func (b *Book) Expire(now time.Time) (ended []ID) {
	for id, t := range b.told {
		if now.Before(t.until) {
			continue
		}
		delete(b.told, id)
		if len(b.over) >= mostOver {
			clear(b.over)
		}
		b.over[id] = t.SealedMs
		ended = append(ended, id)
	}
	return ended
}
