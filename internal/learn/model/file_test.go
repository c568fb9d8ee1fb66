package model

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// longer returns a file with more in its header.
func longer(file []byte, more string) []byte {
	n := binary.LittleEndian.Uint32(file[8:])
	out := slices.Insert(slices.Clone(file), 12+int(n), []byte(more)...)
	binary.LittleEndian.PutUint32(out[8:], n+uint32(len(more)))
	return out
}

func TestFile(t *testing.T) {
	t.Parallel()
	for name, c := range specs() {
		f := File{Spec: c.spec, Params: randomParams(c.spec), Input: []byte(`{"inputs":[]}`), About: []byte(`{"rounds":3}`)}
		b, err := Save(f)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Load(b)
		if err != nil || !slices.Equal(f.Params, g.Params) || !bytes.Equal(f.Input, g.Input) || !bytes.Equal(f.About, g.About) || g.Spec.Size() != f.Spec.Size() {
			t.Errorf("%s: %v", name, err)
		}
		for want, bad := range map[string][]byte{
			"start":               b[1:],
			"ends before":         b[:10],
			"bytes of parameters": b[:len(b)-4],
			"version 2":           bytes.Replace(b, []byte(`{"version":1`), []byte(`{"version":2`), 1),
			"nothing behind":      longer(b, " {}"),
			"unknown field":       bytes.Replace(b, []byte(`"about"`), []byte(`"aboot"`), 1),
			"kind":                bytes.Replace(b, []byte(`"kind":"`), []byte(`"kind":"x`), 1)[:len(b)],
			"parameters: ":        append(slices.Clone(b[:len(b)-4]), 0, 0, 0xc0, 0x7f),
		} {
			if want == "kind" { // one byte more in the header
				n := binary.LittleEndian.Uint32(bad[8:])
				binary.LittleEndian.PutUint32(bad[8:], n+1)
			}
			if _, err := Load(bad); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, c := range specs() {
		b, err := Save(File{Spec: c.spec, Params: c.spec.Start(1)})
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 1<<12 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Load(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		again, err := Save(file)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := Load(again); err != nil || !slices.Equal(other.Params, file.Params) {
			t.Fatalf("saved again: %v", err)
		}
	})
}
