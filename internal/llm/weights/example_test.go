package weights_test

import (
	"fmt"
	"log"

	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
)

// Open a model, read a row of a matrix, encode a text.
func Example() {
	m, err := weights.Open("../coral/coral.gguf", weights.Options{})
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
	// llama 4 layers of 128 interleaved
	// blk.3.attn_q.weight Q8_0 128 × 128 -0.24190903
	// [47 1019 866 259 578] Once upon a time
}
