package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// panel is rule 3 for so many rows of a, and nv registers of columns of b, which
// stands in panels of 32 columns: c[i][j] is continued with a[k][i]·b[k][j] for k
// ascending. Elements of a stand astep bytes apart in k, rows of c ld bytes. With
// half, b is binary16.
func panel(isa string, r []reg.VecPhysical, width, rows, nv int, half bool) {
	name, size, element := fmt.Sprintf("panel%sx%d", isa, rows), 4, "float32"
	if half {
		name, size, element = name+"half", 2, "uint16"
	}
	TEXT(name, NOSPLIT, "func(a *float32, astep int, b *"+element+", c *float32, ld int, n int)")
	Pragma("noescape")
	a := Load(Param("a"), GP64())
	astep := Load(Param("astep"), GP64())
	b := Load(Param("b"), GP64())
	c := Load(Param("c"), GP64())
	ld := Load(Param("ld"), GP64())
	n := Load(Param("n"), GP64())
	acc := func(i, j int) reg.VecPhysical { return r[i*nv+j] }
	each := func(f func(m Mem, v reg.VecPhysical)) {
		row := GP64()
		MOVQ(c, row)
		for i := range rows {
			for j := range nv {
				f(Mem{Base: row, Disp: j * width * 4}, acc(i, j))
			}
			if i < rows-1 {
				ADDQ(ld, row)
			}
		}
	}
	each(func(m Mem, v reg.VecPhysical) { VMOVUPS(m, v) })
	cols, rest := r[rows*nv:rows*nv+nv], r[rows*nv+nv:]
	Label("loop")
	for j, v := range cols {
		m := Mem{Base: b, Disp: j * width * size}
		if half {
			VCVTPH2PS(m, v)
		} else {
			VMOVUPS(m, v)
		}
		if rows == 1 && isa == "AVX512" {
			PREFETCHT0(Mem{Base: b, Disp: j*width*size + ahead})
		}
	}
	for i := range rows {
		x := Mem{Base: a, Disp: 4 * i}
		if isa != "AVX512" {
			VBROADCASTSS(x, rest[i%2])
		}
		for j, v := range cols {
			t := rest[2+(i*nv+j)%2]
			if isa == "AVX512" {
				t = rest[(i*nv+j)%len(rest)]
				VMULPS_BCST(x, v, t)
			} else {
				VMULPS(rest[i%2], v, t)
			}
			VADDPS(t, acc(i, j), acc(i, j))
		}
	}
	ADDQ(astep, a)
	ADDQ(U32(32*size), b)
	DECQ(n)
	JNZ(LabelRef("loop"))
	each(func(m Mem, v reg.VecPhysical) { VMOVUPS(v, m) })
	VZEROUPPER()
	RET()
}
