package tokenizer

// symbol is a piece of the text that is being joined: a list with links, in the
// order of the text.
type symbol struct {
	id         int32 // its token, or None
	start, end int32 // bytes of the text
	prev, next int32 // indices, −1 at the ends
}

// gone reports whether the symbol has become part of the one before it.
func (s *symbol) gone() bool { return s.start == s.end }

// candidate is a pair of neighbours that may be joined.
type candidate struct {
	rank        float64 // least first
	left, right int32   // indices of symbols
	size        int32   // bytes of both: symbols that have grown since are told by it
	id          int32   // what they make
}

func (a candidate) before(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.left < b.left
}

// joiner is the working memory of one text.
type joiner struct {
	text    string
	symbols []symbol
	heap    []candidate
}

// start adds a symbol for text[start:end].
func (j *joiner) start(id int32, start, end int) {
	n := int32(len(j.symbols))
	if n > 0 {
		j.symbols[n-1].next = n
	}
	j.symbols = append(j.symbols, symbol{id: id, start: int32(start), end: int32(end), prev: n - 1, next: -1})
}

// join joins symbols until rank knows no pair of neighbours any more. rank returns
// how well a pair ranks, what it makes, and whether it may be joined at all.
// Each join takes O(log n).
func (j *joiner) join(rank func(text string, l, r symbol) (float64, int32, bool)) {
	offer := func(l, r int32) {
		if l < 0 || r < 0 {
			return
		}
		a, b := j.symbols[l], j.symbols[r]
		if p, id, ok := rank(j.text, a, b); ok {
			j.push(candidate{p, l, r, b.end - a.start, id})
		}
	}
	for i := 1; i < len(j.symbols); i++ {
		offer(int32(i-1), int32(i))
	}
	for len(j.heap) > 0 {
		c := j.pop()
		l, r := &j.symbols[c.left], &j.symbols[c.right]
		if l.next != c.right || r.end-l.start != c.size || l.gone() || r.gone() {
			continue // one of them has been joined to another meanwhile
		}
		l.id, l.end, l.next = c.id, r.end, r.next
		if r.next >= 0 {
			j.symbols[r.next].prev = c.left
		}
		r.start = r.end
		offer(l.prev, c.left)
		offer(c.left, l.next)
	}
}

// A binary heap; container/heap would allocate for each candidate.
func (j *joiner) push(c candidate) {
	j.heap = append(j.heap, c)
	h, i := j.heap, len(j.heap)-1
	for i > 0 && h[i].before(h[(i-1)/2]) {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		i = (i - 1) / 2
	}
}

func (j *joiner) pop() candidate {
	h := j.heap
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		least := i
		for _, k := range [2]int{2*i + 1, 2*i + 2} {
			if k < len(h) && h[k].before(h[least]) {
				least = k
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	j.heap = h
	return top
}
