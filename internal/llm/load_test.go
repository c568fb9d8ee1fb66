package llm

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
)

// marked notes which bytes of a file are read.
type marked struct {
	io.ReaderAt
	read []bool
}

func (m *marked) ReadAt(b []byte, off int64) (int, error) {
	n, err := m.ReaderAt.ReadAt(b, off)
	for i := range b[:n] {
		m.read[off+int64(i)] = true
	}
	return n, err
}

// Load reads the tensors that Options.Tensors names, to the byte.
func TestLoadReadsItsTensors(t *testing.T) {
	t.Parallel()
	config := llmtest.Coral(t).Config
	config.TiedEmbeddings = !config.TiedEmbeddings
	config.QKVBias, config.QKNorm = true, true
	other, err := weights.Random(config, 1)
	if err != nil {
		t.Fatal(err)
	}
	var otherFile bytes.Buffer
	if err := other.Export(t.Context(), &otherFile, quant.Q8_0); err != nil {
		t.Fatal(err)
	}
	for _, file := range [][]byte{llmtest.CoralFile(t, quant.Q8_0), otherFile.Bytes()} {
		layers := config.Layers
		for _, o := range []Options{{}, {First: 0, Last: 1}, {First: 1, Last: 2}, {First: layers - 1, Last: layers},
			{First: 0, Last: 1, Share: Share{[]int{2, 1}, 0}}, {First: 1, Last: 2, Share: Share{[]int{2, 1}, 1}}, {First: layers - 1, Last: layers, Share: Share{[]int{2, 1}, 1}}} {
			r := &marked{bytes.NewReader(file), make([]bool, len(file))}
			f, err := weights.FromGGUF("marked", r, int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			clear(r.read)
			if _, err := Load(t.Context(), f, o); err != nil {
				t.Fatal(err)
			}
			want := make([]bool, len(file))
			tensors, err := o.Tensors(&f.Config)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range tensors {
				x, err := f.Tensor(id.ID)
				if err != nil {
					t.Fatal(err)
				}
				size, err := x.Type.RowBytes(x.Cols)
				if err != nil {
					t.Fatal(err)
				}
				for i := id.First * size; i < id.Last*size; i++ {
					want[x.Offset+int64(i)] = true
				}
			}
			if !slices.Equal(r.read, want) {
				t.Errorf("tied %v, %+v: other bytes were read than those of %v", f.Config.TiedEmbeddings, o, tensors)
			}
		}
	}
}
