package repro_test

import (
	"fmt"
	"log"
	"math"
	"os"

	"atoll/internal/repro"
)

// A gated feed-forward block, as in Llama: it prints the same bits on every
// machine, with any number of threads.
func Example() {
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		log.Fatal(err)
	}
	pool, err := repro.NewPool(2, isa)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	const model, inner = 64, 160
	gate, up, down := someWeights(1, inner, model), someWeights(2, inner, model), someWeights(3, model, inner)
	x, norm := normal(repro.NewRandom(4), model, 1), make([]float32, model)
	for i := range norm {
		norm[i] = 1
	}
	in, _ := repro.NewActivations(model, 1) // room for one position
	hidden, _ := repro.NewActivations(inner, 1)
	h, g, u := make([]float32, model), make([]float32, inner), make([]float32, inner)

	if err := repro.RMSNorm(h, x, norm, 1e-5, pool); err != nil {
		log.Fatal(err)
	}
	if err := in.Set(h, pool); err != nil {
		log.Fatal(err)
	}
	gate.Mul(g, in, pool)
	up.Mul(u, in, pool)
	repro.SwiGLU(g, g, u, pool)
	if err := hidden.Set(g, pool); err != nil {
		log.Fatal(err)
	}
	down.Mul(h, hidden, pool)
	repro.Add(x, h, pool)
	fmt.Printf("%08x %08x\n", math.Float32bits(x[0]), math.Float32bits(x[model-1]))
	// Output: 3f24fca2 3e462f0c
}

// someWeights stands for weights from a model file.
func someWeights(seed uint64, rows, cols int) *repro.Matrix {
	blocks := make([]byte, rows*repro.RowBytes(cols))
	if err := repro.QuantizeWeights(blocks, normal(repro.NewRandom(seed), rows*cols, 0.1)); err != nil {
		log.Fatal(err)
	}
	m, err := repro.NewMatrix(rows, cols)
	if err == nil {
		err = m.SetRows(0, blocks)
	}
	if err != nil {
		log.Fatal(err)
	}
	return m
}
