package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantizer is rule 1 for the blocks of one vector. Its integers go to q, qstep
// bytes from block to block, scales and biases to d and bias, dstep bytes. It
// returns the bits of the largest magnitude.
func quantizer() {
	TEXT("quantizeAVX2", NOSPLIT, "func(x *float32, q *int8, d *float32, bias *int32, qstep int, dstep int, blocks int) uint32")
	Pragma("noescape")
	x := Load(Param("x"), GP64())
	q := Load(Param("q"), GP64())
	d := Load(Param("d"), GP64())
	bias := Load(Param("bias"), GP64())
	qstep := Load(Param("qstep"), GP64())
	dstep := Load(Param("dstep"), GP64())
	blocks := Load(Param("blocks"), GP64())
	magnitude, full, top, tiny, zero := y[15], y[14], y[13], y[12], y[11]
	fill(magnitude, 0x7fffffff)
	fill(full, bitsOf(127))
	fill(tiny, (127-96)<<23-1)
	VPXOR(zero, zero, zero)
	VPXOR(top, top, top)
	Label("loop")
	for i := range 4 {
		VMOVUPS(Mem{Base: x, Disp: 32 * i}, y[i])
		VPAND(y[i], magnitude, y[4+i])
	}
	VPMAXUD(y[4], y[5], y[4])
	VPMAXUD(y[6], y[7], y[6])
	VPMAXUD(y[4], y[6], y[4])
	across(func(a, b, c reg.VecPhysical) { VPMAXUD(a, b, c) }, 4, 5)
	VPMAXUD(y[4], top, top)
	am, scale, inverse, keep := reg.X4, reg.X5, reg.X6, reg.X7
	VPCMPGTD(tiny.AsX(), am, keep)
	VDIVSS(full.AsX(), am, scale)
	VPAND(scale, keep, scale)
	VMOVSS(scale, Mem{Base: d})
	VDIVSS(am, full.AsX(), inverse)
	VPAND(inverse, keep, inverse)
	VBROADCASTSS(inverse, y[5])
	for i := range 4 {
		VMULPS(y[i], y[5], y[i])
		VCVTPS2DQ(y[i], y[i])
	}
	VPADDD(y[0], y[1], y[4])
	VPADDD(y[2], y[3], y[5])
	VPADDD(y[4], y[5], y[4])
	across(func(a, b, c reg.VecPhysical) { VPADDD(a, b, c) }, 4, 5)
	VPSLLD(U8(7), y[4].AsX(), y[4].AsX())
	VPSUBD(y[4].AsX(), zero.AsX(), y[4].AsX())
	VMOVD(y[4].AsX(), Mem{Base: bias})
	storeBytes(q)
	ADDQ(U32(128), x)
	ADDQ(qstep, q)
	ADDQ(dstep, d)
	ADDQ(dstep, bias)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	r := GP32()
	VMOVD(top.AsX(), r)
	Store(r, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// storeBytes writes the 32 integers in y[0] to y[3] as bytes.
func storeBytes(q reg.Register) {
	// The packs work within halves of a register: 0lo 1lo 2lo 3lo | 0hi 1hi 2hi 3hi.
	VPACKSSDW(y[1], y[0], y[0])
	VPACKSSDW(y[3], y[2], y[2])
	VPACKSSWB(y[2], y[0], y[0])
	VEXTRACTI128(U8(1), y[0], reg.X1)
	VPUNPCKLDQ(reg.X1, reg.X0, reg.X2)
	VPUNPCKHDQ(reg.X1, reg.X0, reg.X3)
	VMOVDQU(reg.X2, Mem{Base: q})
	VMOVDQU(reg.X3, Mem{Base: q, Disp: 16})
}

// across combines the 8 elements of y[a] by f into element 0 of its lower half,
// and into the other three there; y[t] is free.
func across(f func(a, b, c reg.VecPhysical), a, t int) {
	v, w := y[a].AsX().(reg.VecPhysical), y[t].AsX().(reg.VecPhysical)
	VEXTRACTI128(U8(1), y[a], w)
	f(v, w, v)
	VPSHUFD(U8(0x4e), v, w)
	f(v, w, v)
	VPSHUFD(U8(0xb1), v, w)
	f(v, w, v)
}

// fill sets all elements of v.
func fill(v reg.VecPhysical, bits uint32) {
	t := GP32()
	MOVL(U32(bits), t)
	VMOVD(t, v.AsX())
	VPBROADCASTD(v.AsX(), v)
}
