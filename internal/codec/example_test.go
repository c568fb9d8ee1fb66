package codec_test

import (
	"crypto/rand"
	"fmt"

	"atoll/internal/codec"
	"atoll/internal/keystream"
)

// Three clients' updates, summed as integers without noise.
func Example() {
	grid, err := codec.NewGrid(codec.Shape{Dim: 4, Clip: 1, Bits: 16})
	if err != nil {
		panic(err)
	}
	words, err := grid.Words(3, 0, 1e-9)
	if err != nil {
		panic(err)
	}
	seed := keystream.Seed{7} // the round's, the same for all
	sum := make([]uint32, grid.Len())
	for _, update := range [][]float32{{0.5, 0, 0, 0}, {0.25, 0.25, 0, -0.5}, {0, 0, 3, 4}} {
		secret, err := keystream.Secret(rand.Reader)
		if err != nil {
			panic(err)
		}
		vector, report, err := grid.Encode(update, seed, secret)
		if err != nil {
			panic(err)
		}
		words.Modulus.Reduce(vector)
		for i, w := range vector { // masked, in earnest
			sum[i] += w
		}
		if report.Clipped {
			fmt.Printf("a norm of %g was clipped\n", report.Norm)
		}
	}
	words.Modulus.Reduce(sum)
	total, err := grid.Decode(sum, words.Modulus, seed)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%.2f in words of %d bits\n", total, words.Modulus)
	// Output:
	// a norm of 5 was clipped
	// [0.75 0.25 0.60 0.30] in words of 18 bits
}
