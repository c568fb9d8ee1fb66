package weights_test

import (
	"fmt"
	"log"

	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
)

// Open a model, read a row of a matrix, encode a text.
func Example() {
	m, err := weights.Open("../testdata/stories260k/stories260K.bin", weights.Options{Tokenizer: "../testdata/stories260k/tok512.bin"})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	fmt.Println(m.Config.Arch, m.Config.Layers, "layers of", m.Config.Dim, m.Config.RoPE.Style)

	q, err := m.Tensor(weights.ID{Part: weights.AttnQ, Layer: 3})
	if err != nil {
		log.Fatal(err)
	}
	row := make([]float32, q.Cols)
	if err := q.ReadRows(row, 17, 1); err != nil {
		log.Fatal(err)
	}
	fmt.Println(q.ID, q.Type, q.Rows, "×", q.Cols, row[0])

	tok, err := tokenizer.New(m.Vocab)
	if err != nil {
		log.Fatal(err)
	}
	ids := tok.Encode("Once upon a time", tokenizer.Options{Whole: true})
	fmt.Println(ids, tok.Decode(ids))
	// Output:
	// llama 5 layers of 64 interleaved
	// blk.3.attn_q.weight F32 64 × 64 -0.015864834
	// [1 403 407 261 378] Once upon a time
}
