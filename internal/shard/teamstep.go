package shard

import (
	"encoding/binary"

	"atoll/internal/llm"
	"atoll/internal/repro"
)

// stepForm is how a team's step is written, and what a follower has room for.
type stepForm struct {
	rows                  llm.RowForm
	batch, pages, context int
}

// stepFormOf is that of a stage. Rows go to followers as the leader computes from them:
// exactly.
func stepFormOf(m *llm.Model, batch, pages int) stepForm {
	return stepForm{llm.F32.RowsBefore(0, &m.Config), batch, pages, m.Config.Context}
}

// dim is how many numbers a row has.
func (c *stepForm) dim() int { return c.rows.Bytes() / 4 }

// most is how many bytes a step can have.
func (c *stepForm) most() int {
	return 2 + c.batch*(8+4*pagesOf(c.context)+c.rows.Bytes())
}

// write is a step of these spans.
func (c *stepForm) write(spans []llm.Span) (b []byte, err error) {
	count := func(s *llm.Span) int { return len(s.Hidden) / c.dim() }
	b = binary.LittleEndian.AppendUint16(b, uint16(len(spans)))
	for i := range spans {
		b = u32(b, uint32(spans[i].First), uint32(count(&spans[i])))
	}
	for i := range spans {
		s := &spans[i]
		for _, p := range s.Pages[:pagesOf(s.First+count(s))] {
			b = u32(b, uint32(p))
		}
	}
	for i := range spans {
		if b, err = c.rows.Append(b, spans[i].Hidden); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// parse reads one.
func (c *stepForm) parse(b []byte) ([]llm.Span, error) {
	f := &fields{b: b}
	n := int(f.u16())
	if n < 1 || n > c.batch || len(f.b) < 8*n {
		return nil, malformed("a step of %d spans in %d bytes", n, len(b))
	}
	spans, counts, all, pages := make([]llm.Span, n), make([]int, n), 0, 0
	for i := range spans {
		first, count := f.u32(), f.u32()
		if count < 1 || count > uint32(c.batch) || first > uint32(c.context) || int(first+count) > c.context {
			return nil, malformed("%d positions from %d on", count, first)
		}
		spans[i].First, counts[i] = int(first), int(count)
		all += counts[i]
		pages += pagesOf(int(first + count))
	}
	if all > c.batch || len(f.b) != 4*pages+c.rows.Bytes()*all {
		return nil, malformed("%d positions with %d pages in %d bytes", all, pages, len(f.b))
	}
	for i := range spans {
		for range pagesOf(spans[i].First + counts[i]) {
			p := f.u32()
			if p >= uint32(c.pages) {
				return nil, malformed("page %d of %d", p, c.pages)
			}
			spans[i].Pages = append(spans[i].Pages, int32(p))
		}
	}
	if err := c.rows.Check(f.b); err != nil {
		return nil, malformed("%v", err)
	}
	for i := range spans {
		spans[i].Hidden = make([]float32, counts[i]*c.dim())
		c.rows.Restore(spans[i].Hidden, f.take(counts[i]*c.rows.Bytes()))
	}
	return spans, nil
}

// pagesOf is how many pages hold n positions.
func pagesOf(n int) int { return (n + repro.PagePositions - 1) / repro.PagePositions }
