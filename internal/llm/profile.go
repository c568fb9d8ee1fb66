package llm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// Profile names the arithmetic of a model. It is part of what a result depends
// on, so it is named wherever results are compared.
//
// Its first word is Q8 or F32. Layer boundaries may follow, as in "q8/8,16": what goes
// into layers 8 and 16 is quantised to int8 there (rule 1 of package repro) and
// restored, on one machine as on ten. A model on several machines is then cut only
// there, and sends a good quarter of the bytes; see RowForm.
type Profile string

// The profiles without boundaries.
const (
	// Q8 keeps matrices as Q8_0 and quantises what they are multiplied with (rule
	// 2), keys and values as binary16. A matrix whose rows are no multiple of 32
	// is kept and computed as in F32.
	Q8 Profile = "q8"
	// F32 keeps everything in binary32 (rule 3).
	F32 Profile = "f32"
)

// maxProfile bounds the name of a profile, in bytes.
const maxProfile = 128

// ParseProfile returns the profile of that name; "" is Q8.
func ParseProfile(s string) (Profile, error) {
	if s == "" {
		return Q8, nil
	}
	p := Profile(s)
	if b := p.base(); b != Q8 && b != F32 || len(s) > maxProfile {
		return "", fmt.Errorf("profile %.40q: want q8 or f32, or either with boundaries of layers, such as q8/8,16", s)
	}
	_, list, named := strings.Cut(s, "/")
	cuts := p.Cuts()
	if named && (len(cuts) == 0 || cuts[0] < 1 || !slices.IsSortedFunc(cuts, strictly) || list != joined(cuts)) {
		return "", fmt.Errorf("profile %.40q: want layers from 1 on, each once and in ascending order, such as q8/8,16", s)
	}
	return p, nil
}

// strictly is an order in which nothing equals itself: of a slice that is sorted by it
// no element comes twice.
func strictly(a, b int) int {
	if a <= b {
		return -1
	}
	return 1
}

func joined(cuts []int) string {
	words := make([]string, len(cuts))
	for i, c := range cuts {
		words[i] = strconv.Itoa(c)
	}
	return strings.Join(words, ",")
}

// base is the profile without boundaries.
func (p Profile) base() Profile {
	b, _, _ := strings.Cut(string(p), "/")
	return Profile(b)
}

// Cuts are the layers before which the profile quantises, in ascending order; none
// means that it never does.
func (p Profile) Cuts() (cuts []int) {
	_, list, named := strings.Cut(string(p), "/")
	if !named {
		return nil
	}
	for word := range strings.SplitSeq(list, ",") {
		n, _ := strconv.Atoi(word) // ParseProfile refuses what is none
		cuts = append(cuts, n)
	}
	return cuts
}

// Check reports whether a model of that configuration can be computed in the profile.
func (p Profile) Check(c *weights.Config) error {
	cuts := p.Cuts()
	switch {
	case len(cuts) == 0:
		return nil
	case cuts[len(cuts)-1] >= c.Layers:
		return fmt.Errorf("profile %s: the model has layers 0 to %d", p, c.Layers-1)
	case c.Dim%repro.BlockSize != 0:
		return fmt.Errorf("profile %s: hidden states of %d numbers are not quantised, only multiples of %d", p, c.Dim, repro.BlockSize)
	}
	return nil
}

// quantised reports whether matrices with rows of so many columns are Q8_0.
func (p Profile) quantised(cols int) bool { return p.base() == Q8 && cols%repro.BlockSize == 0 }

// WeightBytes is what a matrix takes, in memory.
func (p Profile) WeightBytes(rows, cols int) int64 {
	if p.quantised(cols) {
		return int64(rows) * int64(repro.RowBytes(cols))
	}
	return 4 * int64(rows) * int64(cols)
}

// CacheBytes is what the key and the value of one position take in one layer.
func (p Profile) CacheBytes(c *weights.Config) int64 {
	size := int64(2)
	if p.cache() == repro.F32 {
		size = 4
	}
	return 2 * size * int64(c.KVHeads*c.HeadDim)
}

func (p Profile) cache() repro.Format {
	if p.base() == F32 {
		return repro.F32
	}
	return repro.F16
}
