package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The signature of all kernels of rule 2. Weights: for each block 8·16 groups of 4
// bytes; scales: 16 binary16. Activations: block after block xstep bytes apart,
// columns 32 bytes apart; their biases and scales dstep bytes and 4 bytes apart.
// Results: 16 (or 8) for each column, ld bytes apart. With one column, the kernel
// does groups of 16 rows one after another; else groups must be 1.
const q8Signature = "func(w *int8, ws *uint16, x *int8, bias *int32, d *float32, xstep int, dstep int, out *float32, ld int, blocks int, groups int)"

// ahead is how far before its use memory is asked for, in bytes.
const ahead = 8192

type q8 struct {
	w, ws, x, bias, d, xstep, dstep, out, blocks reg.Register
}

func (k *q8) load() {
	k.w = Load(Param("w"), GP64())
	k.ws = Load(Param("ws"), GP64())
	k.xstep = Load(Param("xstep"), GP64())
	k.dstep = Load(Param("dstep"), GP64())
	k.out = Load(Param("out"), GP64())
	k.x, k.bias, k.d, k.blocks = GP64(), GP64(), GP64(), GP64()
}

// start goes back to the first block of the activations.
func (k *q8) start(bias bool) {
	Load(Param("x"), k.x)
	if bias {
		Load(Param("bias"), k.bias)
	}
	Load(Param("d"), k.d)
	Load(Param("blocks"), k.blocks)
}

func (k *q8) next(bias bool) {
	ADDQ(U32(512), k.w)
	ADDQ(U8(32), k.ws)
	ADDQ(k.xstep, k.x)
	if bias {
		ADDQ(k.dstep, k.bias)
	}
	ADDQ(k.dstep, k.d)
	DECQ(k.blocks)
}

// vpdpbusd is missing in avo: acc += the sum over 4 unsigned bytes of w times 4
// signed bytes of the broadcast m.
func vpdpbusd(m Mem, w, acc Op) {
	Instruction(&ir.Instruction{
		Opcode: "VPDPBUSD", Suffixes: []string{"BCST"}, Operands: []Op{m, w, acc},
		Inputs: []Op{m, w, acc}, Outputs: []Op{acc}, ISA: []string{"AVX512_VNNI"},
	})
}

// q8AVX512 does 16 rows and n columns. VNNI multiplies unsigned by signed bytes,
// so 128 is added to the weights (their top bit flipped) and the sum starts at
// −128 times that of the activations.
func q8AVX512(n int) {
	TEXT(fmt.Sprintf("q8AVX512x%d", n), NOSPLIT, q8Signature)
	Pragma("noescape")
	var k q8
	k.load()
	flip, scale := z[11], z[8]
	t := GP32()
	MOVL(U32(0x80808080), t)
	VPBROADCASTD(t, flip)
	acc := z[16:]
	Label("group")
	k.start(true)
	for c := range n {
		VPXORD(acc[c], acc[c], acc[c])
	}
	Label("block")
	for i := range 8 {
		if n == 1 {
			PREFETCHT0(Mem{Base: k.w, Disp: 64*i + ahead})
		}
		VPXORD(Mem{Base: k.w, Disp: 64 * i}, flip, z[i])
	}
	VCVTPH2PS(Mem{Base: k.ws}, scale)
	for c := range n {
		sum, f := z[12+c%4], z[9+c%2]
		VPBROADCASTD(Mem{Base: k.bias, Disp: 4 * c}, sum)
		if n == 1 { // two shorter chains
			VPXORD(f, f, f)
			for i := 0; i < 8; i += 2 {
				vpdpbusd(Mem{Base: k.x, Disp: 4 * i}, z[i], sum)
				vpdpbusd(Mem{Base: k.x, Disp: 4*i + 4}, z[i+1], f)
			}
			VPADDD(f, sum, sum)
		} else {
			for i := range 8 {
				vpdpbusd(Mem{Base: k.x, Disp: 32*c + 4*i}, z[i], sum)
			}
		}
		VCVTDQ2PS(sum, sum)
		VMULPS_BCST(Mem{Base: k.d, Disp: 4 * c}, scale, f)
		VMULPS(f, sum, sum)
		VADDPS(sum, acc[c], acc[c])
	}
	k.next(true)
	JNZ(LabelRef("block"))
	k.finish(n, acc, 1, 64)
}

// q8AVX2 does 8·halves rows and n columns: VPMADDUBSW multiplies unsigned by
// signed bytes, so the weights' signs go to the activations. Its sums of two fit
// in 16 bits because activations are at least −127.
func q8AVX2(n, halves int) {
	TEXT(fmt.Sprintf("q8AVX2x%dr%d", n, 8*halves), NOSPLIT, q8Signature)
	Pragma("noescape")
	var k q8
	k.load()
	ones := y[15]
	VPCMPEQW(ones, ones, ones)
	VPABSW(ones, ones)
	acc, sums, w, absw := y[:n*halves], y[4:], y[8], y[9]
	Label("group")
	k.start(false)
	for _, a := range acc {
		VPXOR(a, a, a)
	}
	Label("block")
	for i := range 8 {
		if n == 1 {
			PREFETCHT0(Mem{Base: k.w, Disp: 64*i + ahead})
		}
		for h := range halves {
			VMOVDQU(Mem{Base: k.w, Disp: 64*i + 32*h}, w)
			VPABSB(w, absw)
			for c := range n {
				s := sums[c*halves+h]
				t := y[10+(c*halves+h)%4]
				VPBROADCASTD(Mem{Base: k.x, Disp: 32*c + 4*i}, t)
				VPSIGNB(w, t, t)
				VPMADDUBSW(t, absw, t)
				if i == 0 {
					VPMADDWD(ones, t, s)
				} else {
					VPMADDWD(ones, t, t)
					VPADDD(t, s, s)
				}
			}
		}
	}
	k.scale(n, halves, acc, sums)
	k.next(false)
	JNZ(LabelRef("block"))
	k.finish(n, acc, halves, 32)
}

// vpdpbusdVEX is VPDPBUSD in its VEX encoding (AVX-VNNI), which Go's assembler does
// not know either: acc += the sum over 4 unsigned bytes of w times 4 signed of x.
func vpdpbusdVEX(x, w, acc int) {
	for _, b := range []int{
		0xc4,
		(^acc>>3&1)<<7 | 1<<6 | (^x>>3&1)<<5 | 2, // map 0F38
		(^w&15)<<3 | 1<<2 | 1,                    // 256 bits, prefix 66
		0x50,
		0xc0 | (acc&7)<<3 | x&7,
	} {
		Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(uint8(b))}})
	}
}

// q8AVXVNNI does what q8AVX2 does, in the way of q8AVX512.
func q8AVXVNNI(n, halves int) {
	TEXT(fmt.Sprintf("q8AVXVNNIx%dr%d", n, 8*halves), NOSPLIT, q8Signature)
	Pragma("noescape")
	var k q8
	k.load()
	const sums, w, x = 4, 8, 10 // numbers of registers
	acc, flip := y[:n*halves], y[9]
	VMOVDQU(constantBits(0x80808080), flip)
	Label("group")
	k.start(true)
	for _, a := range acc {
		VPXOR(a, a, a)
	}
	Label("block")
	for c := range n {
		for h := range halves {
			VPBROADCASTD(Mem{Base: k.bias, Disp: 4 * c}, y[sums+c*halves+h])
		}
	}
	for i := range 8 {
		if n == 1 {
			PREFETCHT0(Mem{Base: k.w, Disp: 64*i + ahead})
		}
		for h := range halves {
			VPXOR(Mem{Base: k.w, Disp: 64*i + 32*h}, flip, y[w])
			for c := range n {
				if h == 0 {
					VPBROADCASTD(Mem{Base: k.x, Disp: 32*c + 4*i}, y[x+c])
				}
				vpdpbusdVEX(x+c, w, sums+c*halves+h)
			}
		}
	}
	k.scale(n, halves, acc, y[sums:])
	k.next(true)
	JNZ(LabelRef("block"))
	k.finish(n, acc, halves, 32)
}

// scale adds the integer sums of a block, times weights' and activations' scales,
// to acc.
func (k *q8) scale(n, halves int, acc, sums []reg.VecPhysical) {
	w := y[8]
	for h := range halves {
		VCVTPH2PS(Mem{Base: k.ws, Disp: 16 * h}, w)
		for c := range n {
			s, t := sums[c*halves+h], y[10+c%4]
			VCVTDQ2PS(s, s)
			VBROADCASTSS(Mem{Base: k.d, Disp: 4 * c}, t)
			VMULPS(t, w, t)
			VMULPS(t, s, s)
			VADDPS(s, acc[c*halves+h], acc[c*halves+h])
		}
	}
}

// finish writes the results of a group, of so many registers for each column, and
// goes on to the next group.
func (k *q8) finish(n int, acc []reg.VecPhysical, registers, size int) {
	if n == 1 {
		for h := range registers {
			VMOVUPS(acc[h], Mem{Base: k.out, Disp: size * h})
		}
		ADDQ(U8(64), k.out)
		groups := NewParamAddr("groups", 80)
		DECQ(groups)
		JNZ(LabelRef("group"))
	} else {
		ld := Load(Param("ld"), GP64())
		for c := range n {
			for h := range registers {
				VMOVUPS(acc[c*registers+h], Mem{Base: k.out, Disp: size * h})
			}
			if c < n-1 {
				ADDQ(ld, k.out)
			}
		}
	}
	VZEROUPPER()
	RET()
}
