package gguf

import (
	"fmt"
	"math"
	"slices"
)

// Meta is the metadata of a file. Values are one of uint8, int8, uint16, int16,
// uint32, int32, uint64, int64, float32, float64, bool, string, or a slice of
// these. The accessors convert where nothing is lost, because writers of GGUF
// disagree in their choice of integer types; their errors name the key and wrap
// [ErrFormat].
type Meta map[string]any

// Keys returns the keys in ascending order.
func (m Meta) Keys() []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Has reports whether key is there.
func (m Meta) Has(key string) bool { _, ok := m[key]; return ok }

// Text returns the string under key, or "" if there is none.
func (m Meta) Text(key string) (string, error) {
	v, ok := m[key]
	if !ok {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", wrongType(key, v, "a string")
	}
	return s, nil
}

// Int returns the integer under key, or def if there is none.
func (m Meta) Int(key string, def int) (int, error) {
	v, ok := m[key]
	if !ok {
		return def, nil
	}
	n, ok := integer(v)
	if !ok {
		return 0, wrongType(key, v, "an integer of at most 63 bits")
	}
	return int(n), nil
}

// integer converts a value of any integer type.
func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case uint8:
		return int64(n), true
	case int8:
		return int64(n), true
	case uint16:
		return int64(n), true
	case int16:
		return int64(n), true
	case uint32:
		return int64(n), true
	case int32:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	}
	return 0, false
}

// Float returns the number under key, or def if there is none. It must be finite.
func (m Meta) Float(key string, def float64) (float64, error) {
	v, ok := m[key]
	if !ok {
		return def, nil
	}
	f := math.NaN()
	switch n := v.(type) {
	case float32:
		f = float64(n)
	case float64:
		f = n
	default:
		if i, ok := integer(v); ok {
			f = float64(i)
		}
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, wrongType(key, v, "a finite number")
	}
	return f, nil
}

// Bool returns the bool under key, or def if there is none.
func (m Meta) Bool(key string, def bool) (bool, error) {
	v, ok := m[key]
	if !ok {
		return def, nil
	}
	b, ok := v.(bool)
	if !ok {
		return false, wrongType(key, v, "true or false")
	}
	return b, nil
}

// Texts returns the array of strings under key, or nil if there is none.
func (m Meta) Texts(key string) ([]string, error) {
	return slice[string](m, key, "an array of strings")
}

// Floats returns the array of float32 under key, or nil if there is none.
func (m Meta) Floats(key string) ([]float32, error) {
	return slice[float32](m, key, "an array of float32")
}

// Ints returns the array of integers under key as int32, or nil if there is none.
func (m Meta) Ints(key string) ([]int32, error) {
	if u, ok := m[key].([]uint32); ok {
		out := make([]int32, len(u))
		for i, v := range u {
			if v > math.MaxInt32 {
				return nil, fmt.Errorf("%w: key %q: element %d is %d, over 31 bits", ErrFormat, key, i, v)
			}
			out[i] = int32(v)
		}
		return out, nil
	}
	return slice[int32](m, key, "an array of int32")
}

func slice[T any](m Meta, key, want string) ([]T, error) {
	v, ok := m[key]
	if !ok {
		return nil, nil
	}
	s, ok := v.([]T)
	if !ok {
		return nil, wrongType(key, v, want)
	}
	return s, nil
}

func wrongType(key string, v any, want string) error {
	return fmt.Errorf("%w: key %q holds %.40v (%T), want %s", ErrFormat, key, v, v, want)
}
