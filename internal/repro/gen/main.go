// Command gen writes the amd64 and arm64 kernels of internal/repro:
//
//	go run . -out ../kernels_avx_amd64.s -stubs ../stubs_amd64.go -pkg repro
//	go run . -neon ../kernels_neon_arm64.s
//
// It is a module of its own so that the product does not depend on avo. Each
// kernel rounds every product before it adds it: there is no fused multiply-add
// in here.
package main

import (
	"flag"
	"log"
	"os"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

var z = []reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
}

var y = []reg.VecPhysical{
	reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7, reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15,
}

func main() {
	neon := flag.String("neon", "", "write the arm64 kernels to this file, and nothing else")
	flag.Parse()
	if *neon != "" {
		if err := os.WriteFile(*neon, neonKernels(), 0o644); err != nil {
			log.Fatal(err)
		}
		return
	}
	ConstraintExpr("amd64")
	quantizer()
	for _, columns := range []int{1, 2, 4, 8, 16} {
		q8AVX512(columns)
	}
	for _, q8 := range []func(columns, halves int){q8AVX2, q8AVXVNNI} {
		q8(1, 2)
		q8(2, 2)
		q8(4, 1)
	}
	for _, half := range []bool{false, true} {
		for _, rows := range []int{1, 2, 4, 8} {
			panel("AVX512", z, 16, rows, 2, half)
		}
		panel("AVX2", y, 8, 1, 4, half)
		panel("AVX2", y, 8, 2, 2, half)
		panel("AVX2", y, 8, 4, 2, half)
	}
	panel("AVX512", z, 16, 8, 1, false)
	pack()
	addSquares()
	expSum()
	divide()
	scale()
	silu()
	gelu()
	Generate()
}
