package weights

import (
	"errors"
	"os"
	"testing"
)

func FuzzConfig(f *testing.F) {
	for _, dir := range []string{"llama", "qwen3"} {
		b, err := os.ReadFile("testdata/" + dir + "/config.json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConfig(b)
		if err != nil {
			if !errors.Is(err, errMalformed) && !errors.Is(err, errUnsupported) {
				t.Fatal(err)
			}
			return
		}
		freq, magnitude := c.RoPE.Frequencies()
		for i, v := range freq {
			if !(v > 0 && v <= 1) || magnitude < 1 {
				t.Fatalf("%+v: frequency %d is %v, magnitude %v", c.RoPE, i, v, magnitude)
			}
		}
	})
}
