package weights

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"atoll/internal/core"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/repro"
)

// Random is a model of the given shape whose weights are a function of the seed:
// what it says is nothing, what it costs is real. Matrices are Q8_0 and norms 1,
// so Dim, FFN and Heads·HeadDim must be multiples of 32. It lies nowhere: weights
// come into being when they are read, so that a model of any size can be measured
// without a download, and Export gives the same file everywhere.
func Random(c Config, seed uint64) (*Model, error) {
	if err := c.check(); err != nil {
		return nil, explain("random model", err)
	}
	if c.Vocab < firstByte+256 || c.Dim%quant.Q8Elements != 0 || c.FFN%quant.Q8Elements != 0 || c.Heads*c.HeadDim%quant.Q8Elements != 0 {
		return nil, core.Errorf(core.Invalid, "random model: want a vocabulary of at least %d and widths in multiples of %d", firstByte+256, quant.Q8Elements)
	}
	m := &Model{Path: "random", Format: "random", Config: c, Vocab: byteVocab(c.Vocab)}
	for i, id := range c.Tensors() {
		rows, cols := c.Shape(id.Part)
		t := Tensor{Name: id.String(), File: m.Path, Type: quant.Q8_0, Rows: rows, Cols: cols, src: randomBlocks(repro.Mix(seed) + uint64(i)<<40)}
		if id.Part.vector() {
			t.Type, t.src = quant.F32, ones{}
		}
		if err := m.add(id, t); err != nil {
			return nil, explain(m.Path, err)
		}
	}
	return m, nil
}

// randomBlocks are endless Q8_0 blocks: block b is a function of b and the seed.
type randomBlocks uint64

// randomScale is 2^-12 as binary16: weights have a deviation of about 0.018.
const randomScale = 0x0c00

// ReadAt implements io.ReaderAt.
func (r randomBlocks) ReadAt(p []byte, off int64) (int, error) {
	var block [repro.BlockBytes]byte
	for n := 0; n < len(p); {
		b, skip := (off+int64(n))/repro.BlockBytes, (off+int64(n))%repro.BlockBytes
		binary.LittleEndian.PutUint16(block[:], randomScale)
		for i := range uint64(4) {
			binary.LittleEndian.PutUint64(block[2+8*i:], repro.Mix(uint64(r)+uint64(b)*4+i))
		}
		n += copy(p[n:], block[skip:])
	}
	return len(p), nil
}

// ones is binary32 1, over and over; it is read in whole elements.
type ones struct{}

// ReadAt implements io.ReaderAt.
func (ones) ReadAt(p []byte, _ int64) (int, error) {
	for i := 0; i+4 <= len(p); i += 4 {
		binary.LittleEndian.PutUint32(p[i:], math.Float32bits(1))
	}
	return len(p), nil
}

var (
	_ io.ReaderAt = randomBlocks(0)
	_ io.ReaderAt = ones{}
)

const firstByte = 3 // the token of byte 0, after <unk>, <s> and </s>

// byteVocab spells text byte by byte and has n tokens.
func byteVocab(n int) *tokenizer.Vocab {
	v := &tokenizer.Vocab{
		Model: tokenizer.SPM, BOS: 1, EOS: 2, Unknown: 0, Pad: tokenizer.None, Stop: []int32{2}, AddBOS: true,
		Tokens: []tokenizer.Token{{Text: "<unk>", Kind: tokenizer.Unknown}, {Text: "<s>", Kind: tokenizer.Control}, {Text: "</s>", Kind: tokenizer.Control}},
	}
	for b := range 256 {
		v.Tokens = append(v.Tokens, tokenizer.Token{Text: fmt.Sprintf("<0x%02X>", b), Kind: tokenizer.Byte})
	}
	v.Grow(n)
	return v
}
