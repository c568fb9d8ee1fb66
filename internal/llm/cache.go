package llm

import (
	"container/list"
	"errors"
	"slices"

	"atoll/internal/repro"
)

// ErrFull means that no page is free and none can be given up.
var ErrFull = errors.New("the cache of keys and values is full")

// pageTokens is what a full page stands for.
type pageTokens [repro.PagePositions]int32

// prefix names a page by what it holds: so many tokens after those of another
// page. It is exact: nothing is found by a hash alone.
type prefix struct {
	scope  string
	parent int32 // noPage for the first page
	tokens pageTokens
}

const noPage int32 = -1

// page is one page's part in the sharing.
type page struct {
	users    int    // sequences that hold it
	named    bool   // it is full and can be found by its prefix
	prefix   prefix // if named
	children int    // named pages that follow it
	idle     *list.Element
}

// Cache hands out a decoder's pages. Pages that are full can be found again by
// sequences that begin with the same tokens within the same scope, so that a
// common beginning is computed once and kept once. A page that nobody holds stays
// until its room is needed, the longest unused first, and never before those that
// follow it.
type Cache struct {
	pages []page
	free  []int32
	found map[prefix]int32
	idle  *list.List // of int32: named pages without users and children
}

// NewCache returns a cache of so many free pages.
func NewCache(pages int) *Cache {
	c := &Cache{pages: make([]page, pages), found: map[prefix]int32{}, idle: list.New()}
	for i := range pages {
		c.free = append(c.free, int32(pages-1-i))
	}
	return c
}

// Available is how many pages can be had.
func (c *Cache) Available() int {
	n := len(c.free)
	for i := range c.pages {
		if p := &c.pages[i]; p.named && p.users == 0 {
			n++
		}
	}
	return n
}

// Sequence is the pages of one sequence.
type Sequence struct {
	cache  *Cache
	scope  string
	pages  []int32
	tokens []int32 // those whose keys and values are stored
	named  int     // pages that can be found
}

// Begin returns a sequence with the pages that are found for the beginning of a
// prompt, and how many of its tokens these hold: at most all but the last, whose
// logits are still wanted.
func (c *Cache) Begin(scope string, prompt []int32) (s *Sequence, stored int) {
	s = &Sequence{cache: c, scope: scope}
	parent := noPage
	for len(prompt)-stored > repro.PagePositions {
		id, ok := c.found[prefix{scope, parent, pageTokens(prompt[stored:])}]
		if !ok {
			break
		}
		c.hold(id)
		s.pages = append(s.pages, id)
		stored += repro.PagePositions
		parent = id
	}
	s.tokens = slices.Clone(prompt[:stored])
	s.named = len(s.pages)
	return s, stored
}

// Pages returns the sequence's pages.
func (s *Sequence) Pages() []int32 { return s.pages }

// Len returns how many positions are stored.
func (s *Sequence) Len() int { return len(s.tokens) }

// Grow makes room for n positions in all. After ErrFull the sequence is as before.
func (s *Sequence) Grow(n int) error {
	before := len(s.pages)
	for len(s.pages)*repro.PagePositions < n {
		id, ok := s.cache.take()
		if !ok {
			for _, id := range s.pages[before:] {
				s.cache.drop(id)
			}
			s.pages = s.pages[:before]
			return ErrFull
		}
		s.pages = append(s.pages, id)
	}
	return nil
}

// Stored notes tokens whose keys and values are now in the sequence's pages. A
// page that became full can be found by others from now on.
func (s *Sequence) Stored(tokens ...int32) {
	s.tokens = append(s.tokens, tokens...)
	for (s.named+1)*repro.PagePositions <= len(s.tokens) {
		parent := noPage
		if s.named > 0 {
			parent = s.pages[s.named-1]
		}
		key := prefix{s.scope, parent, pageTokens(s.tokens[s.named*repro.PagePositions:])}
		id := s.pages[s.named]
		if other, ok := s.cache.found[key]; ok {
			// Somebody computed the same meanwhile: the bits are the same, so go on
			// with that page, from which what follows can be found.
			s.cache.hold(other)
			s.cache.drop(id)
			s.pages[s.named] = other
		} else {
			s.cache.name(id, key)
		}
		s.named++
	}
}

// End gives the pages back.
func (s *Sequence) End() {
	for _, id := range slices.Backward(s.pages) {
		s.cache.drop(id)
	}
	s.pages, s.tokens, s.named = nil, nil, 0
}

func (c *Cache) name(id int32, key prefix) {
	c.pages[id].named, c.pages[id].prefix = true, key
	c.found[key] = id
	if key.parent != noPage {
		c.pages[key.parent].children++
	}
}

func (c *Cache) hold(id int32) {
	p := &c.pages[id]
	p.users++
	if p.idle != nil {
		c.idle.Remove(p.idle)
		p.idle = nil
	}
}

func (c *Cache) drop(id int32) {
	p := &c.pages[id]
	if p.users--; p.users > 0 {
		return
	}
	if !p.named {
		c.free = append(c.free, id)
		return
	}
	c.rest(id)
}

// rest puts a page where it can be given up, if nobody needs it.
func (c *Cache) rest(id int32) {
	if p := &c.pages[id]; p.users == 0 && p.children == 0 && p.idle == nil {
		p.idle = c.idle.PushBack(id)
	}
}

// take returns a page that holds nothing that anybody needs.
func (c *Cache) take() (int32, bool) {
	if n := len(c.free); n > 0 {
		id := c.free[n-1]
		c.free = c.free[:n-1]
		c.pages[id].users = 1
		return id, true
	}
	oldest := c.idle.Front()
	if oldest == nil {
		return 0, false
	}
	id := c.idle.Remove(oldest).(int32)
	key := c.pages[id].prefix
	delete(c.found, key)
	c.pages[id] = page{users: 1}
	if key.parent != noPage {
		c.pages[key.parent].children--
		c.rest(key.parent)
	}
	return id, true
}
