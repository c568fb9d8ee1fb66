package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// panel is rule 3 for so many rows of a, and nv registers of columns of b, which
// stands in panels of 32 columns: c[i][j] is continued with a[k][i]·b[k][j] for k
// ascending, two at a time. Elements of a stand astep bytes apart in k, rows of c ld bytes. With
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
	broadcast, products := rest[:2], rest[2:]
	step := func(u int) {
		for j, v := range cols {
			m := Mem{Base: b, Disp: (32*u + j*width) * size}
			if half {
				VCVTPH2PS(m, v)
			} else {
				VMOVUPS(m, v)
			}
			if rows == 1 {
				PREFETCHT0(Mem{Base: b, Disp: (32*u+j*width)*size + ahead})
			}
		}
		for i := range rows {
			x := Mem{Base: a, Disp: 4 * i}
			if u == 1 {
				x = x.Idx(astep, 1)
			}
			VBROADCASTSS(x, broadcast[i%2])
			for j, v := range cols {
				t := products[(i*nv+j)%len(products)]
				VMULPS(broadcast[i%2], v, t)
				VADDPS(t, acc(i, j), acc(i, j))
			}
		}
	}
	SUBQ(U8(2), n)
	JL(LabelRef("last"))
	Label("loop")
	step(0)
	step(1)
	LEAQ(Mem{Base: a, Index: astep, Scale: 2}, a)
	ADDQ(U32(64*size), b)
	SUBQ(U8(2), n)
	JGE(LabelRef("loop"))
	Label("last")
	ADDQ(U8(2), n)
	JZ(LabelRef("store"))
	step(0)
	Label("store")
	each(func(m Mem, v reg.VecPhysical) { VMOVUPS(v, m) })
	VZEROUPPER()
	RET()
}
