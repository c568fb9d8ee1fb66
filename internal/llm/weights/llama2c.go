package weights

import (
	"encoding/binary"
	"fmt"
	"io"

	"atoll/internal/llm/quant"
	"atoll/internal/llm/tokenizer"
)

// A checkpoint of llama2.c, version 0: seven int32 (dim, FFN, layers, heads,
// key-value heads, vocabulary, context), then float32 tensors without names in
// the order below, each for all layers together. A negative vocabulary says that
// the output matrix is not the embedding and stands at the end. Before it are
// tables of cosines and sines that newer programs ignore.
var llama2cOrder = []Part{TokenEmbedding, AttnNorm, AttnQ, AttnK, AttnV, AttnOut, FFNNorm, FFNGate, FFNDown, FFNUp, OutputNorm}

const (
	llama2cHeader = 28
	llama2cEps    = 1e-5 // run.c has it as a constant
)

func (m *Model) readLlama2c(r io.ReaderAt, size int64, tokenizerPath string) error {
	m.Format = "llama2.c"
	var raw [llama2cHeader]byte
	if n, err := r.ReadAt(raw[:], 0); n < len(raw) {
		return fmt.Errorf("%w: %d bytes are too few for any model: %w", errMalformed, size, err)
	}
	var h [7]int
	for i := range h {
		h[i] = int(int32(binary.LittleEndian.Uint32(raw[4*i:])))
	}
	m.Config = Config{
		Arch: Llama, Dim: h[0], FFN: h[1], Layers: h[2], Heads: h[3], KVHeads: h[4], Vocab: max(h[5], -h[5]), Context: h[6],
		NormEps: llama2cEps, TiedEmbeddings: h[5] > 0,
	}
	c := &m.Config
	if c.Heads > 0 && c.Dim%c.Heads == 0 {
		c.HeadDim = c.Dim / c.Heads
	}
	c.RoPE = RoPE{Style: Interleaved, Dim: c.HeadDim, Base: 10000}
	if err := c.check(); err != nil {
		return fmt.Errorf("no GGUF file, and as a llama2.c checkpoint: %w", err)
	}
	if err := m.placeLlama2c(r, size); err != nil {
		return err
	}
	if tokenizerPath == "" {
		return fmt.Errorf("%w: a llama2.c checkpoint has no tokenizer; name its tok.bin with --tokenizer", errMalformed)
	}
	f, length, err := m.file(tokenizerPath)
	if err != nil {
		return err
	}
	v, err := tokenizer.FromLlama2c(io.NewSectionReader(f, 0, length), c.Vocab)
	if err != nil {
		return fmt.Errorf("%s: %w", tokenizerPath, err)
	}
	return m.tokens(v, nil)
}

// placeLlama2c finds the tensors, whose places follow from their sizes alone.
func (m *Model) placeLlama2c(r io.ReaderAt, size int64) error {
	c := &m.Config
	at := int64(llama2cHeader)
	put := func(p Part, layer int) error {
		rows, cols := c.Shape(p)
		id := ID{p, layer}
		t := Tensor{Name: id.String(), File: m.Path, Type: quant.F32, Rows: rows, Cols: cols, Offset: at, src: r}
		at += 4 * int64(rows) * int64(cols)
		return m.add(id, t)
	}
	for _, p := range llama2cOrder {
		layers := 1
		if p >= AttnNorm {
			layers = c.Layers
		}
		for l := range layers {
			if err := put(p, l); err != nil {
				return err
			}
		}
	}
	at += 4 * int64(c.Context) * int64(c.HeadDim) // HeadDim/2 cosines and as many sines
	if c.has(Output) {
		if err := put(Output, 0); err != nil {
			return err
		}
	}
	if at != size {
		return fmt.Errorf("%w: no GGUF file, and as a llama2.c checkpoint its header calls for %d bytes, but it has %d", errMalformed, at, size)
	}
	return nil
}
