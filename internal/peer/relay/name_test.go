package relay

import (
	"bytes"
	"testing"

	"atoll/internal/core"
)

// What is read is what was written, and nothing that no hub writes is taken for a name.
func FuzzName(f *testing.F) {
	f.Add([]byte("\x06node-1rest"))
	f.Add([]byte("\x00"))
	f.Add([]byte("\xff"))
	f.Add([]byte("\x03A/b"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		name, err := readName(r)
		if err != nil {
			return
		}
		if core.CheckName("node", string(name)) != nil {
			t.Errorf("%q is no name", name)
		}
		var out bytes.Buffer
		if err := writeName(&out, name); err != nil || !bytes.Equal(out.Bytes(), in[:len(in)-r.Len()]) {
			t.Errorf("%q was written as %x: %v", name, out.Bytes(), err)
		}
	})
}
