package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// pack turns 8 rows, ld bytes apart, of n elements (a multiple of 8) into n groups
// of 8.
func pack() {
	TEXT("packAVX2", NOSPLIT, "func(dst *float32, x *float32, ld int, n int)")
	Pragma("noescape")
	dst := Load(Param("dst"), GP64())
	x := Load(Param("x"), GP64())
	ld := Load(Param("ld"), GP64())
	n := Load(Param("n"), GP64())
	ld3, x4 := GP64(), GP64()
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	LEAQ(Mem{Base: x, Index: ld, Scale: 4}, x4)
	Label("loop")
	for h, base := range []Mem{{Base: x}, {Base: x4}} {
		VMOVUPS(base, y[4*h])
		VMOVUPS(base.Idx(ld, 1), y[4*h+1])
		VMOVUPS(base.Idx(ld, 2), y[4*h+2])
		VMOVUPS(base.Idx(ld3, 1), y[4*h+3])
	}
	for i := 0; i < 8; i += 2 { // pairs of rows
		VUNPCKLPS(y[i+1], y[i], y[8+i])
		VUNPCKHPS(y[i+1], y[i], y[9+i])
	}
	for h := range 2 { // fours of rows: columns 0 and 4, 1 and 5, 2 and 6, 3 and 7
		for c := range 2 {
			a, b := y[8+4*h+c], y[10+4*h+c]
			VSHUFPS(U8(0x44), b, a, y[4*h+2*c])
			VSHUFPS(U8(0xee), b, a, y[4*h+2*c+1])
		}
	}
	for c := range 4 {
		VPERM2F128(U8(0x20), y[4+c], y[c], y[8+c])
		VMOVUPS(y[8+c], Mem{Base: dst, Disp: 32 * c})
		VPERM2F128(U8(0x31), y[4+c], y[c], y[12+c])
		VMOVUPS(y[12+c], Mem{Base: dst, Disp: 32 * (4 + c)})
	}
	ADDQ(U8(32), x)
	ADDQ(U8(32), x4)
	ADDQ(U32(256), dst)
	SUBQ(U8(8), n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
