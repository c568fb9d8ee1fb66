package repro

import "golang.org/x/sys/cpu"

// machineISAs lists what this processor, and the operating system, allow.
func machineISAs() []ISA {
	x := &cpu.X86
	if !x.HasAVX2 || !x.HasF16C {
		return nil
	}
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VNNI {
		return []ISA{AVX2, AVX512}
	}
	return []ISA{AVX2}
}

// A goroutine cannot be stopped while it is in assembly, so each call is kept
// under about 100 µs.
const (
	callBytes    = 1 << 19 // of weights read for one column
	callElements = 1 << 14 // of an element-wise kernel
)

func quantizeColumn(isa ISA, t tile, c int, x []float32) uint32 {
	if isa == Portable {
		return quantizeColumnPortable(t, c, x)
	}
	return quantizeAVX2(&x[0], &t.q[c*BlockSize], &t.d[c], &t.bias[c], t.width*BlockSize, t.width*4, len(x)/BlockSize)
}

// q8Column is rule 2 for groups lo to hi and a single column.
func q8Column(isa ISA, out []float32, m *Matrix, lo, hi int, t tile) {
	if isa == Portable {
		q8ColumnPortable(out, m, lo, hi, t)
		return
	}
	nb := m.cols / BlockSize
	step := max(1, callBytes/(nb*groupBytes))
	for g := lo; g < hi; g += step {
		q, s := m.group(g)
		n := min(step, hi-g)
		if isa == AVX512 {
			q8AVX512x1(&q[0], (*uint16)(&s[0]), &t.q[0], &t.bias[0], &t.d[0], BlockSize, 4, &out[g*groupRows], 0, nb, n)
		} else {
			q8AVX2x1r16(&q[0], (*uint16)(&s[0]), &t.q[0], &t.bias[0], &t.d[0], BlockSize, 4, &out[g*groupRows], 0, nb, n)
		}
	}
}

// q8Tile is rule 2 for the 16 rows of group g and all columns of t. The results of
// column c stand in out at c·ld.
func q8Tile(isa ISA, out []float32, ld int, m *Matrix, g int, t tile) {
	switch isa {
	case AVX512:
		q8TileAVX512(out, ld, m, g, t)
	case AVX2:
		q8TileAVX2(out, ld, m, g, t)
	default:
		q8TilePortable(out, ld, m, g, t)
	}
}

func q8TileAVX512(out []float32, ld int, m *Matrix, g int, t tile) {
	weights, scales := m.group(g)
	nb, w, s := m.cols/BlockSize, &weights[0], (*uint16)(&scales[0])
	xstep, dstep := t.width*BlockSize, t.width*4
	for c := 0; c < t.width; {
		x, bias, d, o := &t.q[c*BlockSize], &t.bias[c], &t.d[c], &out[c*ld]
		switch left := t.width - c; {
		case left >= 16:
			q8AVX512x16(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c += 16
		case left >= 8:
			q8AVX512x8(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c += 8
		case left >= 4:
			q8AVX512x4(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c += 4
		case left >= 2:
			q8AVX512x2(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c += 2
		default:
			q8AVX512x1(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c++
		}
	}
}

func q8TileAVX2(out []float32, ld int, m *Matrix, g int, t tile) {
	weights, scales := m.group(g)
	nb, w, s := m.cols/BlockSize, &weights[0], (*uint16)(&scales[0])
	xstep, dstep := t.width*BlockSize, t.width*4
	for c := 0; c < t.width; {
		x, bias, d, o := &t.q[c*BlockSize], &t.bias[c], &t.d[c], &out[c*ld]
		switch left := t.width - c; {
		case left >= 4:
			q8AVX2x4r8(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			q8AVX2x4r8(&weights[32], (*uint16)(&scales[8]), x, bias, d, xstep, dstep, &out[c*ld+8], ld*4, nb, 1)
			c += 4
		case left >= 2:
			q8AVX2x2r16(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c += 2
		default:
			q8AVX2x1r16(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c++
		}
	}
}

func addSquares(isa ISA, l *laneSum, x []float32, m float32) {
	if isa == Portable {
		l.addSquares(x, m)
		return
	}
	for len(x) > 0 {
		n := min(len(x), callElements)
		addSquaresAVX2(&l[0], &x[0], m, n)
		x = x[n:]
	}
}

func expSum(isa ISA, l *laneSum, x []float32, top float32) {
	if isa == Portable {
		l.expSum(x, top)
		return
	}
	for len(x) > 0 {
		n := min(len(x), callElements)
		expSumAVX2(&l[0], &x[0], top, n)
		x = x[n:]
	}
}

func divide(isa ISA, x []float32, by float32) {
	if isa == Portable {
		dividePortable(x, by)
		return
	}
	for len(x) > 0 {
		n := min(len(x), callElements)
		divideAVX2(&x[0], by, n)
		x = x[n:]
	}
}

// scale multiplies x, which is not empty, by f and returns the largest result, and
// whether all are finite.
func scale(isa ISA, x []float32, f float32) (top float32, ok bool) {
	n := len(x) &^ 7
	if isa == Portable {
		n = 0
	}
	top, ok = scalePortable(x[n:], f)
	for x = x[:n]; len(x) > 0; {
		n := min(len(x), callElements)
		t, bits := scaleAVX2(&x[0], f, n)
		top, ok = max(top, t), ok && bits < notFiniteBits
		x = x[n:]
	}
	return top, ok
}

// siluSlice and geluSlice get at most elementsPerPiece elements.
func siluSlice(isa ISA, dst, x []float32) {
	n := len(x) &^ 7
	if isa == Portable {
		n = 0
	}
	if n > 0 {
		siluAVX2(&dst[0], &x[0], n)
	}
	siluPortable(dst[n:], x[n:])
}

func geluSlice(isa ISA, dst, x []float32) {
	n := len(x) &^ 7
	if isa == Portable {
		n = 0
	}
	if n > 0 {
		geluAVX2(&dst[0], &x[0], n)
	}
	geluPortable(dst[n:], x[n:])
}
