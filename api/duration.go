package api

import (
	"fmt"
	"time"
)

// Duration is a time.Duration written as in Go: "300ms", "30s", "5m". The zero
// Duration stands for "not given" and is left out of JSON.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. Zero and negative
// durations are refused: what is given must have an effect.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v <= 0 {
		return fmt.Errorf("duration %.40q: want a positive number with a unit, such as 30s or 5m", b)
	}
	*d = Duration(v)
	return nil
}

// Std returns the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }
