// Package llmtest has the language models that tests use: our own, which is
// always there, one made up in llama2.c's format, and a published one, which is
// found where there is a copy of it.
package llmtest

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"atoll/internal/llm/coral"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
)

// Coral is our own small model.
func Coral(t testing.TB) *weights.Model {
	t.Helper()
	file := coral.Open()
	return open(t, file, file.Size())
}

// CoralFile is its canonical file, in Q8_0 or F32.
func CoralFile(t testing.TB, format quant.Type) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Coral(t).Export(t.Context(), &b, format); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Changed is our own model with other weights: change gets each tensor's, in
// binary32, and may alter them.
func Changed(t testing.TB, change func(id weights.ID, x []float32)) []byte {
	t.Helper()
	file := CoralFile(t, quant.F32)
	m := open(t, bytes.NewReader(file), int64(len(file)))
	for _, id := range m.Config.Tensors() {
		tensor, err := m.Tensor(id)
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, tensor.Rows*tensor.Cols)
		if err := tensor.ReadRows(x, 0, tensor.Rows); err != nil {
			t.Fatal(err)
		}
		change(id, x)
		for i, v := range x {
			binary.LittleEndian.PutUint32(file[tensor.Offset+4*int64(i):], math.Float32bits(v))
		}
	}
	return file
}

func open(t testing.TB, r io.ReaderAt, size int64) *weights.Model {
	t.Helper()
	m, err := weights.FromGGUF("coral", r, size)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Stories is the folder of stories260K, a model of 260,000 weights in llama2.c's
// format with the text that llama2.c's own program makes of it. The test is
// skipped where it is absent.
func Stories(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("ATOLL_DATA")
	if dir == "" {
		_, here, _, _ := runtime.Caller(0)
		dir = filepath.Join(filepath.Dir(here), "..", "..", "..", "..", "shared", "data")
	}
	dir = filepath.Join(dir, "model-stories260k")
	if _, err := os.Stat(filepath.Join(dir, "stories260K.bin")); err != nil {
		t.Skipf("the model is absent (%v): get stories260K.bin and tok512.bin from karpathy/tinyllamas on Hugging Face into a folder model-stories260k, and name the folder around it in ATOLL_DATA", err)
	}
	return dir
}
