package repro

// The choice of a kernel is written out for each instruction set, here and in
// panels_amd64.go: through a table of functions the compiler could not see that
// arguments do not escape, and results on the stack would have to be allocated.

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
		x, bias, d, o := &t.q[0], &t.bias[0], &t.d[0], &out[g*groupRows]
		switch isa {
		case AVX512:
			q8AVX512x1(&q[0], (*uint16)(&s[0]), x, bias, d, BlockSize, 4, o, 0, nb, n)
		case AVXVNNI:
			q8AVXVNNIx1r16(&q[0], (*uint16)(&s[0]), x, bias, d, BlockSize, 4, o, 0, nb, n)
		default:
			q8AVX2x1r16(&q[0], (*uint16)(&s[0]), x, bias, d, BlockSize, 4, o, 0, nb, n)
		}
	}
}

// q8Tile is rule 2 for the 16 rows of group g and all columns of t. The results of
// column c stand in out at c·ld.
func q8Tile(isa ISA, out []float32, ld int, m *Matrix, g int, t tile) {
	switch isa {
	case AVX512:
		q8TileAVX512(out, ld, m, g, t)
	case AVXVNNI:
		q8TileAVXVNNI(out, ld, m, g, t)
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

func q8TileAVXVNNI(out []float32, ld int, m *Matrix, g int, t tile) {
	weights, scales := m.group(g)
	nb, w, s := m.cols/BlockSize, &weights[0], (*uint16)(&scales[0])
	xstep, dstep := t.width*BlockSize, t.width*4
	for c := 0; c < t.width; {
		x, bias, d, o := &t.q[c*BlockSize], &t.bias[c], &t.d[c], &out[c*ld]
		switch left := t.width - c; {
		case left >= 4:
			q8AVXVNNIx4r8(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			q8AVXVNNIx4r8(&weights[32], (*uint16)(&scales[8]), x, bias, d, xstep, dstep, &out[c*ld+8], ld*4, nb, 1)
			c += 4
		case left >= 2:
			q8AVXVNNIx2r16(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c += 2
		default:
			q8AVXVNNIx1r16(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c++
		}
	}
}
