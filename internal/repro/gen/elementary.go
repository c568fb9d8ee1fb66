package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func bitsOf(f float32) uint32 { return math.Float32bits(f) }

var constants = map[uint32]Mem{}

// constant returns memory that holds 8 times f.
func constant(f float32) Mem { return constantBits(bitsOf(f)) }

func constantBits(b uint32) Mem {
	m, ok := constants[b]
	if !ok {
		m = GLOBL(fmt.Sprintf("eight%08x", b), RODATA|NOPTR)
		for i := range 8 {
			DATA(4*i, U32(b))
		}
		constants[b] = m
	}
	return m
}

const (
	signBit  = 1 << 31
	lessThan = 1 // VCMPPS predicates
	toWhole  = 12582912
)

// The numbers below must be those of exp, sigmoid, tanh and gelu in Go.

// exp sets v to e^x for x ≤ 88; n, r and m are free.
func exp(x, v, n, r, m reg.VecPhysical) {
	VMULPS(constant(1.44269504), x, n)
	VADDPS(constant(toWhole), n, n)
	VSUBPS(constant(toWhole), n, n)
	VMULPS(constant(0.693145751953125), n, r)
	VSUBPS(r, x, r)
	VMULPS(constant(1.42860677e-06), n, v)
	VSUBPS(v, r, r)
	VMULPS(constant(1.9875691500e-4), r, v)
	VADDPS(constant(1.3981999507e-3), v, v)
	for _, c := range []float32{8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		VMULPS(v, r, v)
		VADDPS(constant(c), v, v)
	}
	VMULPS(r, r, m)
	VMULPS(m, v, v)
	VADDPS(r, v, v)
	VADDPS(constant(1), v, v)
	VCVTTPS2DQ(n, n)
	VPSRAD(U8(1), n, m)
	VPSUBD(m, n, n)
	VPSLLD(U8(23), m, m)
	VPSLLD(U8(23), n, n)
	VPADDD(constant(1), m, m) // the exponent's bias
	VPADDD(constant(1), n, n)
	VMULPS(m, v, v)
	VMULPS(n, v, v)
	VCMPPS(U8(lessThan), constant(-87.33654), x, m)
	VANDNPS(v, m, v)
}

// loop is the frame of an element-wise kernel: body runs for each step elements at
// x. n must be a positive multiple of step.
func loop(step int, body func(x reg.Register), pointers ...reg.Register) {
	n := Load(Param("n"), GP64())
	Label("loop")
	body(pointers[0])
	for _, p := range pointers {
		ADDQ(U8(4*step), p)
	}
	SUBQ(U8(step), n)
	JNZ(LabelRef("loop"))
}

// lanes loads the 16 partial sums of rule 4 into two registers.
func lanes(f func(m Mem, v reg.VecPhysical), l reg.Register, v ...reg.VecPhysical) {
	for h, v := range v {
		f(Mem{Base: l, Disp: 32 * h}, v)
	}
}

func addSquares() {
	TEXT("addSquaresAVX2", NOSPLIT, "func(l *float32, x *float32, m float32, n int)")
	Pragma("noescape")
	l := Load(Param("l"), GP64())
	x := Load(Param("x"), GP64())
	mean := y[15]
	VBROADCASTSS(NewParamAddr("m", 16), mean)
	lanes(func(m Mem, v reg.VecPhysical) { VMOVUPS(m, v) }, l, y[0], y[1])
	loop(16, func(x reg.Register) {
		for h := range 2 {
			d := y[2+h]
			VMOVUPS(Mem{Base: x, Disp: 32 * h}, d)
			VSUBPS(mean, d, d)
			VMULPS(d, d, d)
			VADDPS(d, y[h], y[h])
		}
	}, x)
	lanes(func(m Mem, v reg.VecPhysical) { VMOVUPS(v, m) }, l, y[0], y[1])
	VZEROUPPER()
	RET()
}

func expSum() {
	TEXT("expSumAVX2", NOSPLIT, "func(l *float32, x *float32, top float32, n int)")
	Pragma("noescape")
	l := Load(Param("l"), GP64())
	x := Load(Param("x"), GP64())
	top := y[15]
	VBROADCASTSS(NewParamAddr("top", 16), top)
	lanes(func(m Mem, v reg.VecPhysical) { VMOVUPS(m, v) }, l, y[0], y[1])
	loop(16, func(x reg.Register) {
		for h := range 2 {
			r := y[2+6*h : 8+6*h]
			VMOVUPS(Mem{Base: x, Disp: 32 * h}, r[0])
			VSUBPS(top, r[0], r[0])
			exp(r[0], r[1], r[2], r[3], r[4])
			VMOVUPS(r[1], Mem{Base: x, Disp: 32 * h})
			VADDPS(r[1], y[h], y[h])
		}
	}, x)
	lanes(func(m Mem, v reg.VecPhysical) { VMOVUPS(v, m) }, l, y[0], y[1])
	VZEROUPPER()
	RET()
}

func divide() {
	TEXT("divideAVX2", NOSPLIT, "func(x *float32, by float32, n int)")
	Pragma("noescape")
	x := Load(Param("x"), GP64())
	VBROADCASTSS(NewParamAddr("by", 8), y[15])
	loop(16, func(x reg.Register) {
		for h := range 2 {
			m := Mem{Base: x, Disp: 32 * h}
			VMOVUPS(m, y[h])
			VDIVPS(y[15], y[h], y[h])
			VMOVUPS(y[h], m)
		}
	}, x)
	VZEROUPPER()
	RET()
}

// scale multiplies x by f and returns the largest product and the bits of the
// largest magnitude.
func scale() {
	TEXT("scaleAVX2", NOSPLIT, "func(x *float32, f float32, n int) (top float32, bits uint32)")
	Pragma("noescape")
	x := Load(Param("x"), GP64())
	f, top, bits := y[15], y[14], y[4]
	VBROADCASTSS(NewParamAddr("f", 8), f)
	VMOVUPS(constant(float32(math.Inf(-1))), top)
	VPXOR(bits, bits, bits)
	loop(8, func(x reg.Register) {
		VMULPS(Mem{Base: x}, f, y[0])
		VMOVUPS(y[0], Mem{Base: x})
		VMAXPS(y[0], top, top)
		VPAND(constantBits(^uint32(signBit)), y[0], y[0])
		VPMAXUD(y[0], bits, bits)
	}, x)
	across(func(a, b, c reg.VecPhysical) { VPMAXUD(a, b, c) }, 4, 5)
	r := GP32()
	VMOVD(bits.AsX(), r)
	Store(r, Return("bits"))
	VMOVUPS(top, y[4])
	across(func(a, b, c reg.VecPhysical) { VMAXPS(a, b, c) }, 4, 5)
	Store(reg.X4, Return("top"))
	VZEROUPPER()
	RET()
}

func silu() {
	TEXT("siluAVX2", NOSPLIT, "func(dst *float32, x *float32, n int)")
	Pragma("noescape")
	dst := Load(Param("dst"), GP64())
	x := Load(Param("x"), GP64())
	loop(8, func(x reg.Register) {
		v, e := y[0], y[2]
		VMOVUPS(Mem{Base: x}, v)
		VORPS(constantBits(signBit), v, y[1])
		exp(y[1], e, y[3], y[4], y[5])
		VMOVUPS(constant(1), y[6])
		VBLENDVPS(v, e, y[6], y[7]) // e where x has a sign
		VADDPS(y[6], e, e)
		VDIVPS(e, y[7], e)
		VMULPS(e, v, e)
		VMOVUPS(e, Mem{Base: dst})
	}, x, dst)
	VZEROUPPER()
	RET()
}

func gelu() {
	TEXT("geluAVX2", NOSPLIT, "func(dst *float32, x *float32, n int)")
	Pragma("noescape")
	dst := Load(Param("dst"), GP64())
	x := Load(Param("x"), GP64())
	loop(8, func(x reg.Register) {
		v, u, a, small, big := y[0], y[1], y[2], y[3], y[4]
		VMOVUPS(Mem{Base: x}, v)
		VMULPS(v, v, u)
		VMULPS(constant(0.044715), u, u)
		VADDPS(constant(1), u, u)
		VMULPS(u, v, u)
		VMULPS(constant(0.7978845608), u, u)
		VANDPS(constantBits(^uint32(signBit)), u, y[5])
		VMOVUPS(constant(9.5), y[6])
		VMINPS(y[5], y[6], a) // NaN comes through in this order
		tanhSmall(u, small, y[5])
		VADDPS(a, a, y[5])
		exp(y[5], big, y[6], y[7], y[8])
		VADDPS(constant(1), big, big)
		VMOVUPS(constant(2), y[5])
		VDIVPS(big, y[5], big)
		VMOVUPS(constant(1), y[5])
		VSUBPS(big, y[5], big)
		VANDPS(constantBits(signBit), u, y[6])
		VORPS(y[6], big, big)
		VCMPPS(U8(lessThan), constant(0.625), a, y[6])
		VBLENDVPS(y[6], small, big, big)
		VADDPS(y[5], big, big)
		VMULPS(constant(0.5), v, v)
		VMULPS(v, big, big)
		VMOVUPS(big, Mem{Base: dst})
	}, x, dst)
	VZEROUPPER()
	RET()
}

// tanhSmall sets v to tanh u for |u| < 0.625; z is free.
func tanhSmall(u, v, z reg.VecPhysical) {
	VMULPS(u, u, z)
	VMULPS(constant(-5.70498872745e-3), z, v)
	VADDPS(constant(2.06390887954e-2), v, v)
	for _, c := range []float32{-5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1} {
		VMULPS(z, v, v)
		VADDPS(constant(c), v, v)
	}
	VMULPS(z, v, v)
	VMULPS(u, v, v)
	VADDPS(u, v, v)
}
