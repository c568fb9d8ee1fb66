package llm

import (
	"fmt"

	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// Profile names the arithmetic of a model. It is part of what a result depends
// on, so it is named wherever results are compared.
type Profile string

// The profiles.
const (
	// Q8 keeps matrices as Q8_0 and quantises what they are multiplied with (rule
	// 2), keys and values as binary16. A matrix whose rows are no multiple of 32
	// is kept and computed as in F32.
	Q8 Profile = "q8"
	// F32 keeps everything in binary32 (rule 3).
	F32 Profile = "f32"
)

// ParseProfile returns the profile of that name; "" is Q8.
func ParseProfile(s string) (Profile, error) {
	switch p := Profile(s); p {
	case "":
		return Q8, nil
	case Q8, F32:
		return p, nil
	}
	return "", fmt.Errorf("profile %.40q: want q8 or f32", s)
}

// quantised reports whether matrices with rows of so many columns are Q8_0.
func (p Profile) quantised(cols int) bool { return p == Q8 && cols%repro.BlockSize == 0 }

// CacheBytes is what the key and the value of one position take in one layer.
func (p Profile) CacheBytes(c *weights.Config) int64 {
	size := int64(2)
	if p.cache() == repro.F32 {
		size = 4
	}
	return 2 * size * int64(c.KVHeads*c.HeadDim)
}

func (p Profile) cache() repro.Format {
	if p == F32 {
		return repro.F32
	}
	return repro.F16
}
