package llmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"atoll/internal/repro"
)

// CheckpointVocab is the number of a checkpoint's tokens.
const CheckpointVocab = 300

// Checkpoint writes a model in llama2.c's format, and its tokenizer, and returns
// their paths. Its shape is that of stories260K but for the vocabulary: 3 marks,
// 256 bytes, and pieces of a few words. Its weights are made up.
func Checkpoint(t testing.TB) (bin, tok string) {
	t.Helper()
	dir := t.TempDir()
	if err := WriteCheckpoint(dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "model.bin"), filepath.Join(dir, "tok.bin")
}

// WriteCheckpoint writes model.bin and tok.bin.
func WriteCheckpoint(dir string) error {
	return errors.Join(os.WriteFile(filepath.Join(dir, "model.bin"), checkpoint(), 0o600), os.WriteFile(filepath.Join(dir, "tok.bin"), Tokens(), 0o600))
}

func checkpoint() (b []byte) {
	const dim, ffn, layers, heads, kv, context = 64, 172, 5, 8, 4, 512
	for _, n := range []uint32{dim, ffn, layers, heads, kv, CheckpointVocab, context} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	r := repro.NewRandom(1)
	add := func(n int, scale float32) {
		for range n {
			v := scale * float32(int64(r.Uint64())) / (1 << 63)
			b, _ = binary.Append(b, binary.LittleEndian, v)
		}
	}
	add(CheckpointVocab*dim, 1)
	const width = dim / heads
	for _, size := range []int{dim, dim * heads * width, dim * kv * width, dim * kv * width, dim * dim, dim, dim * ffn, ffn * dim, dim * ffn} {
		add(layers*size, 0.2)
	}
	add(dim, 1)
	return append(b, make([]byte, 4*context*width)...) // tables that are ignored
}

// Tokens is a tok.bin of llama2.c.
func Tokens() (b []byte) {
	texts := []string{"<unk>", "\n<s>\n", "\n</s>\n"}
	for i := range 256 {
		texts = append(texts, fmt.Sprintf("<0x%02X>", i))
	}
	texts = append(texts, " ", "O", "n", "c", "e", "u", "p", "o", "a", "t", "i", "m", "On", "ce", "Once", " Once", "up", "on", "upon", " upon", " a", "ti", "me", "time", " time")
	for i := len(texts); i < CheckpointVocab; i++ {
		texts = append(texts, fmt.Sprintf("piece%d", i))
	}
	b = binary.LittleEndian.AppendUint32(b, 10) // the longest
	for i, text := range texts {
		b, _ = binary.Append(b, binary.LittleEndian, float32(i)) // later ones, which are longer, are merged first
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	return b
}
