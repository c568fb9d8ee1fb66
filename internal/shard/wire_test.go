package shard

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"atoll/internal/llm"
)

func encoded(t testing.TB, messages ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := newEncoder(&b)
	for _, m := range messages {
		if err := e.write(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var samples = []struct {
	m    any
	want string // in hexadecimal
}{
	{&hello{LineID{1, 2}, 3, 4}, "18000000" + "01" + "01" + "01020000000000000000000000000000" + "03000000" + "0400"},
	{&have{[]length{{7, 9}}}, "0d000000" + "02" + "01000000" + "07000000" + "09000000"},
	{&opened{1, 2, 3, []byte("{}")}, "0f000000" + "03" + "01000000" + "02000000" + "03000000" + "7b7d"},
	{&rows{[]span{{5, 6, 1}}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}}, "17000000" + "04" + "0100" + "05000000" + "06000000" + "01000000" + "0000803f" + "000000c0"},
	{&ended{8}, "05000000" + "05" + "08000000"},
	{
		&drawn{[]token{{1, llm.Token{ID: 2, Position: 3, Logprob: -1, Top: []llm.Alternative{{ID: 4, Logprob: -0.5}}}}}},
		"1c000000" + "06" + "0100" + "01000000" + "03000000" + "02000000" + "000080bf" + "01" + "04000000" + "000000bf",
	},
	{&failed{1, "é"}, "07000000" + "07" + "01000000" + "c3a9"},
}

// The format is as it is written down, and is read as it is written.
func TestFormat(t *testing.T) {
	t.Parallel()
	for _, s := range samples {
		b := encoded(t, s.m)
		if got := hex.EncodeToString(b); got != s.want {
			t.Errorf("%T: %s, want %s", s.m, got, s.want)
		}
		d := newDecoder(bytes.NewReader(b))
		d.row = 8
		if got, err := d.read(); err != nil || !reflect.DeepEqual(got, s.m) {
			t.Errorf("%+v is read as %+v, %v", s.m, got, err)
		}
	}
}

func TestBadMessages(t *testing.T) {
	t.Parallel()
	frame := func(kind byte, parts ...any) []byte {
		b := []byte{0, 0, 0, 0, kind}
		for _, p := range parts {
			b, _ = binary.Append(b, binary.LittleEndian, p)
		}
		binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
		return b
	}
	for name, b := range map[string][]byte{
		"no kind":               {0, 0, 0, 0},
		"too long":              {0xff, 0xff, 0xff, 0xff, 4},
		"unknown":               frame(99),
		"another version":       frame(kindHello, uint8(9), [22]byte{}),
		"short hello":           frame(kindHello, uint8(version)),
		"more than it says":     frame(kindEnd, uint32(1), uint8(0)),
		"lengths that are not":  frame(kindHave, uint32(3), uint32(1), uint32(1)),
		"too many lengths":      frame(kindHave, uint32(maxSequences+1)),
		"rows of another shape": frame(kindRows, uint16(1), uint32(1), uint32(0), uint32(1), float32(1)),
		"more rows than bytes":  frame(kindRows, uint16(1), uint32(1), uint32(0), uint32(1<<30), float32(1), float32(1)),
		"no rows":               frame(kindRows, uint16(1), uint32(1), uint32(0), uint32(0)),
		"too many others":       frame(kindDrawn, uint16(1), uint32(1), uint32(1), uint32(1), float32(1), uint8(21)),
		"words that are none":   frame(kindFail, uint32(1), []byte{0xff}),
		"many words":            frame(kindFail, uint32(1), []byte(strings.Repeat("x", maxWords+1))),
	} {
		d := newDecoder(bytes.NewReader(b))
		d.row = 8
		if m, err := d.read(); !errors.Is(err, errFormat) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	if _, err := newDecoder(bytes.NewReader([]byte{9, 0, 0, 0, 1})).read(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a message cut short: %v", err)
	}
}

func FuzzDecoder(f *testing.F) {
	for _, s := range samples {
		f.Add(encoded(f, s.m))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := newDecoder(bytes.NewReader(data))
		d.row = 8
		for at := 0; ; {
			m, err := d.read()
			if err != nil {
				return
			}
			again := encoded(t, m)
			if !bytes.Equal(again, data[at:at+len(again)]) {
				t.Fatalf("%+v is written as %x", m, again)
			}
			at += len(again)
		}
	})
}

func FuzzOrders(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00{}"))
	f.Add([]byte("\x0f\x00\x00\x00{\"report\":true}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var o order
		if err := readJSON(bytes.NewReader(data), &o); err == nil && o.Sit == nil && o.Assign == nil {
			if err := writeJSON(io.Discard, &o); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// BenchmarkRows is a prompt's rows, written and read.
func BenchmarkRows(b *testing.B) {
	const dim = 576
	m := &rows{[]span{{1, 0, maxOut}}, make([]byte, maxOut*4*dim)}
	text := encoded(b, m)
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		e := newEncoder(io.Discard)
		for b.Loop() {
			if err := e.write(m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		r := bytes.NewReader(text)
		d := newDecoder(r)
		d.row = 4 * dim
		for b.Loop() {
			r.Reset(text)
			if _, err := d.read(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
