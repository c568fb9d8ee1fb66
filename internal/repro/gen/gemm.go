package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// panelKernel is rule 3 for so many rows of a, and nv registers of columns of b,
// which stands in panels of 32 columns: c[i][j] is continued with a[k][i]·b[k][j]
// for k ascending, two at a time. Elements of a stand astep bytes apart in k, rows
// of c ld bytes. With half, b is binary16.
type panelKernel struct {
	r               []reg.VecPhysical // first the results, row by row
	width, rows, nv int
	half            bool
	size            int // of an element of b

	a, astep, b, c, ld, n reg.Register
}

func panel(isa string, r []reg.VecPhysical, width, rows, nv int, half bool) {
	k := &panelKernel{r: r, width: width, rows: rows, nv: nv, half: half, size: 4}
	name, element := fmt.Sprintf("panel%sx%d", isa, rows), "float32"
	if width*nv < 32 && isa == "AVX512" {
		name += "narrow" // the first 16 columns
	}
	if half {
		name, element, k.size = name+"half", "uint16", 2
	}
	TEXT(name, NOSPLIT, "func(a *float32, astep int, b *"+element+", c *float32, ld int, n int)")
	Pragma("noescape")
	k.write()
}

func (k *panelKernel) write() {
	k.a = Load(Param("a"), GP64())
	k.astep = Load(Param("astep"), GP64())
	k.b = Load(Param("b"), GP64())
	k.c = Load(Param("c"), GP64())
	k.ld = Load(Param("ld"), GP64())
	k.n = Load(Param("n"), GP64())
	k.results(func(m Mem, v reg.VecPhysical) { VMOVUPS(m, v) })
	SUBQ(U8(2), k.n)
	JL(LabelRef("last"))
	Label("loop")
	k.step(0)
	k.step(1)
	LEAQ(Mem{Base: k.a, Index: k.astep, Scale: 2}, k.a)
	ADDQ(U32(64*k.size), k.b)
	SUBQ(U8(2), k.n)
	JGE(LabelRef("loop"))
	Label("last")
	ADDQ(U8(2), k.n)
	JZ(LabelRef("store"))
	k.step(0)
	Label("store")
	k.results(func(m Mem, v reg.VecPhysical) { VMOVUPS(v, m) })
	VZEROUPPER()
	RET()
}

// results does f for each register of results and its place in c.
func (k *panelKernel) results(f func(m Mem, v reg.VecPhysical)) {
	row := GP64()
	MOVQ(k.c, row)
	for i := range k.rows {
		for j := range k.nv {
			f(Mem{Base: row, Disp: j * k.width * 4}, k.r[i*k.nv+j])
		}
		if i < k.rows-1 {
			ADDQ(k.ld, row)
		}
	}
}

// step adds the products of the u-th elements from a and b on, u being 0 or 1.
func (k *panelKernel) step(u int) {
	rest := k.r[k.rows*k.nv:]
	cols, broadcast, products := rest[:k.nv], rest[k.nv:k.nv+2], rest[k.nv+2:]
	for j, v := range cols {
		m := Mem{Base: k.b, Disp: (32*u + j*k.width) * k.size}
		if k.half {
			VCVTPH2PS(m, v)
		} else {
			VMOVUPS(m, v)
		}
		if k.rows == 1 {
			PREFETCHT0(Mem{Base: k.b, Disp: (32*u+j*k.width)*k.size + ahead})
		}
	}
	for i := range k.rows {
		x := Mem{Base: k.a, Disp: 4 * i}
		if u == 1 {
			x = x.Idx(k.astep, 1)
		}
		VBROADCASTSS(x, broadcast[i%2])
		for j, v := range cols {
			acc, t := k.r[i*k.nv+j], products[(i*k.nv+j)%len(products)]
			VMULPS(broadcast[i%2], v, t)
			VADDPS(t, acc, acc)
		}
	}
}
