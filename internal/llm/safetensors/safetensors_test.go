package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"atoll/internal/llm/quant"
	"atoll/internal/llm/safetensors"
)

// file joins a header and n bytes of data.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

func read(b []byte) ([]safetensors.Tensor, error) {
	return safetensors.Read(bytes.NewReader(b), int64(len(b)))
}

func TestRead(t *testing.T) {
	t.Parallel()
	b := file(`{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]},`+
		`"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"s":{"dtype":"I64","shape":[],"data_offsets":[20,28]}}   `, 28)
	got, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	start := int64(len(b) - 28)
	want := fmt.Sprintf("[{a BF16 [2 3] %d 12} {b F32 [2] %d 8} {s I64 [] %d 8}]", start, start+12, start+20)
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if k, err := got[0].Type(); k != quant.BF16 || err != nil {
		t.Errorf("type %v, %v", k, err)
	}
	if _, err := got[2].Type(); !errors.Is(err, quant.ErrType) {
		t.Errorf("an I64 is understood: %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want, header string
		data               int
	}{
		{"not an object", "header", `[]`, 0},
		{"cut JSON", "header", `{"a":`, 0},
		{"trailing data", "header", `{} {}`, 0},
		{"a name twice", "header", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4},
		{"an unknown member", `"a"`, `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}`, 4},
		{"an unknown dtype", "dtype", `{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}`, 4},
		{"a negative dimension", "out of range", `{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4},
		{"overflow", "out of range", `{"a":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,4]}}`, 4},
		{"nine dimensions", "dimensions", `{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}`, 4},
		{"offsets that do not fit the shape", "takes 8 bytes", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4},
		{"offsets turned round", "data_offsets", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4},
		{"a negative offset", "data_offsets", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, 4},
		{"three offsets", "header", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}`, 4},
		{"past the end", "cut short", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 4},
		{"a gap", "gaps", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8},
		{"overlap", "overlaps", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12},
		{"data left over", "of which", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 8},
	} {
		_, err := read(file(c.header, c.data))
		if !errors.Is(err, safetensors.ErrFormat) || !strings.Contains(fmt.Sprint(err), c.want) && c.want != "header" {
			t.Errorf("%s: %v; want ErrFormat and %q", c.name, err, c.want)
		}
	}
	for name, b := range map[string][]byte{
		"empty":       nil,
		"seven bytes": make([]byte, 7),
		"long header": binary.LittleEndian.AppendUint64(nil, 1<<62),
		"cut header":  file(`{}`, 0)[:9],
	} {
		if _, err := read(b); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", name, err)
		}
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	files, of, err := safetensors.ReadIndex([]byte(`{"metadata":{"total_size":8},"weight_map":{"a":"2.safetensors","b":"1.safetensors","c":"2.safetensors"}}`))
	if err != nil || fmt.Sprint(files) != "[1.safetensors 2.safetensors]" || of["c"] != "2.safetensors" {
		t.Errorf("%v %v %v", files, of, err)
	}
	for _, bad := range []string{
		``, `{}`, `{"weight_map":{}}`, `{"weight_map":{"a":1}}`, `{"weight_map":{"a":"x.safetensors","a":"x.safetensors"}}`,
		`{"weight_map":{"a":"../x.safetensors"}}`, `{"weight_map":{"a":"/etc/x.safetensors"}}`, `{"weight_map":{"a":"d/x.safetensors"}}`,
		`{"weight_map":{"a":"x.bin"}}`, `{"weight_map":{"a":""}}`, `{"weight_map":{"a":".."}}`,
	} {
		if _, _, err := safetensors.ReadIndex([]byte(bad)); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", bad, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}`, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		ts, err := read(b)
		if err != nil {
			return
		}
		end := int64(len(b))
		for i := len(ts) - 1; i >= 0; i-- { // they cover the data, back to front
			if ts[i].Offset+ts[i].Bytes != end || ts[i].Offset < 8 {
				t.Fatalf("tensor %q lies at %d+%d, want its end at %d", ts[i].Name, ts[i].Offset, ts[i].Bytes, end)
			}
			end = ts[i].Offset
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":8},"weight_map":{"a":"2.safetensors","b":"1.safetensors"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, of, err := safetensors.ReadIndex(b)
		if err == nil && (len(files) == 0 || len(files) > len(of)) {
			t.Fatalf("%d files for %d tensors", len(files), len(of))
		}
	})
}
