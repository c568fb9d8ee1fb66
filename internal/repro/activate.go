package repro

import "fmt"

// elementsPerPiece is what a thread takes of an element-wise operation at once.
const elementsPerPiece = 2048

// SiLU sets dst to RN(x·sigmoid(x)). dst may be x. It panics if their lengths
// differ, as do the others here. None looks for NaN and infinities: they go on to
// whatever takes the result.
func SiLU(dst, x []float32, pool *Pool) { elementwise(opSiLU, dst, x, nil, pool) }

// GELU sets dst to the tanh form of GELU of x, with
// u = RN(√(2/π)·RN(x·RN(1 + RN(0.044715·RN(x²))))):
// dst = RN(RN(x/2)·RN(1 + tanh u)). dst may be x.
func GELU(dst, x []float32, pool *Pool) { elementwise(opGELU, dst, x, nil, pool) }

// SwiGLU sets dst to RN(SiLU(gate)·up). dst may be gate.
func SwiGLU(dst, gate, up []float32, pool *Pool) {
	sameLength(len(gate), len(up))
	elementwise(opSwiGLU, dst, gate, up, pool)
}

// GeGLU sets dst to RN(GELU(gate)·up). dst may be gate.
func GeGLU(dst, gate, up []float32, pool *Pool) {
	sameLength(len(gate), len(up))
	elementwise(opGeGLU, dst, gate, up, pool)
}

// Add adds x to dst: dst = RN(dst + x).
func Add(dst, x []float32, pool *Pool) { elementwise(opAdd, dst, x, nil, pool) }

func elementwise(o op, dst, x, w []float32, pool *Pool) {
	sameLength(len(dst), len(x))
	pool.each(each{op: o, dst: dst, x: x, w: w, size: elementsPerPiece})
}

func sameLength(a, b int) {
	if a != b {
		panic(fmt.Sprintf("repro: element-wise operation on %d and %d elements", a, b))
	}
}

func multiply(dst, x []float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] *= x[i]
	}
}

func siluPortable(dst, x []float32) {
	for i, v := range x {
		dst[i] = silu(v)
	}
}

func geluPortable(dst, x []float32) {
	for i, v := range x {
		dst[i] = gelu(v)
	}
}
