package repro

import "fmt"

// PagePositions is the number of positions in a page of a [KV].
const PagePositions = 32

// KV keeps the keys and values of one layer, in pages of 32 positions that many
// sequences share out among them. A sequence is a list of page numbers; pages that
// begin two sequences alike can be in both lists.
type KV struct {
	heads, dim, pages int
	format            Format
	// A key's element i of head h at a slot of a page is at
	// ((page·heads + h)·dim + i)·32 + slot, so that a vector register holds the
	// same element of many positions. A value's stands in panels of 32 elements:
	// (((page·heads + h)·panels + i/32)·32 + slot)·32 + i mod 32.
	k, v store
}

// NewKV returns pages of zeros for heads of dim elements.
func NewKV(heads, dim, pages int, format Format) (*KV, error) {
	if heads < 1 || heads > 1<<12 || dim < 1 || dim > maxHeadDim || pages < 1 || pages > 1<<24 || pages*heads*dim > maxValues/PagePositions || format > F16 {
		return nil, fmt.Errorf("KV cache of %d pages of %d heads of %d in format %d: want 1 to 2^24 pages, 1 to 2^12 heads, 1 to %d elements, at most 2^40 in all, a known format", pages, heads, dim, format, maxHeadDim)
	}
	kv := &KV{heads: heads, dim: dim, pages: pages, format: format}
	kv.k = newStore(format, pages*heads*dim*PagePositions)
	kv.v = newStore(format, pages*heads*kv.panels()*panelRows*PagePositions)
	return kv, nil
}

// Pages returns the number of pages.
func (kv *KV) Pages() int { return kv.pages }

func (kv *KV) panels() int { return (kv.dim + panelRows - 1) / panelRows }

func (kv *KV) key(page, head int) int { return (page*kv.heads + head) * kv.dim * PagePositions }

func (kv *KV) value(page, head, panel int) int {
	return ((page*kv.heads+head)*kv.panels() + panel) * PagePositions * panelRows
}

// Put stores the key and the value of one position, all heads one after another,
// rounded to the cache's format. It refuses NaN, infinities and what the format
// cannot hold.
func (kv *KV) Put(page, slot int, key, value []float32) error {
	n := kv.heads * kv.dim
	if page < 0 || page >= kv.pages || slot < 0 || slot >= PagePositions || len(key) != n || len(value) != n {
		return fmt.Errorf("KV cache of %d pages: key of %d and value of %d elements at page %d, slot %d: want %d elements and a slot below %d", kv.pages, len(key), len(value), page, slot, n, PagePositions)
	}
	if err := kv.format.fits(key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if err := kv.format.fits(value); err != nil {
		return fmt.Errorf("value: %w", err)
	}
	for h := range kv.heads {
		k := kv.k.from(kv.key(page, h))
		for i, x := range key[h*kv.dim : (h+1)*kv.dim] {
			k.set(i*PagePositions+slot, x)
		}
		for i, x := range value[h*kv.dim : (h+1)*kv.dim] {
			kv.v.set(kv.value(page, h, i/panelRows)+slot*panelRows+i%panelRows, x)
		}
	}
	return nil
}
