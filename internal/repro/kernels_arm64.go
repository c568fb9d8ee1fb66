package repro

import "golang.org/x/sys/cpu"

func machineISAs() []ISA {
	if cpu.ARM64.HasASIMDDP {
		return []ISA{NEON}
	}
	return nil
}

//go:noescape
func q8NEONx1(w *int8, ws *uint16, x *int8, bias *int32, d *float32, xstep int, dstep int, out *float32, ld int, blocks int, groups int)

//go:noescape
func q8NEONx2(w *int8, ws *uint16, x *int8, bias *int32, d *float32, xstep int, dstep int, out *float32, ld int, blocks int, groups int)

//go:noescape
func panelNEONx1(a *float32, astep int, b *float32, c *float32, ld int, n int)

//go:noescape
func panelNEONx4(a *float32, astep int, b *float32, c *float32, ld int, n int)

//go:noescape
func panelNEONx1half(a *float32, astep int, b *uint16, c *float32, ld int, n int)

//go:noescape
func panelNEONx4half(a *float32, astep int, b *uint16, c *float32, ld int, n int)

// callBytes bounds the weights that one call reads: a goroutine cannot be stopped
// while it is in assembly.
const callBytes = 1 << 18

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
		q8NEONx1(&q[0], (*uint16)(&s[0]), &t.q[0], &t.bias[0], &t.d[0], BlockSize, 4, &out[g*groupRows], 0, nb, min(step, hi-g))
	}
}

// q8Tile is rule 2 for the 16 rows of group g and all columns of t. The results of
// column c stand in out at c·ld.
func q8Tile(isa ISA, out []float32, ld int, m *Matrix, g int, t tile) {
	if isa == Portable {
		q8TilePortable(out, ld, m, g, t)
		return
	}
	weights, scales := m.group(g)
	nb, w, s := m.cols/BlockSize, &weights[0], (*uint16)(&scales[0])
	xstep, dstep := t.width*BlockSize, t.width*4
	for c := 0; c < t.width; {
		x, bias, d, o := &t.q[c*BlockSize], &t.bias[c], &t.d[c], &out[c*ld]
		if t.width-c >= 2 {
			q8NEONx2(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c += 2
		} else {
			q8NEONx1(w, s, x, bias, d, xstep, dstep, o, ld*4, nb, 1)
			c++
		}
	}
}

// mulNarrow is mulPanel where only the first 16 columns are wanted. No kernel here
// makes use of that.
func mulNarrow(isa ISA, rows int, a []float32, step int, b store, n int, out []float32, ld int) {
	mulPanel(isa, rows, a, step, b, n, out, ld)
}

// mulPanel is rule 3 for a panel: for rows values of i and 32 of c, out[i·ld+c] is
// continued with the products a[k·step+i]·b[k·32+c], k ascending.
func mulPanel(isa ISA, rows int, a []float32, step int, b store, n int, out []float32, ld int) {
	if isa == Portable {
		mulPanelPortable(rows, a, step, b, n, out, ld)
		return
	}
	for i := 0; i < rows; {
		x, o, four := &a[i], out[i*ld:], rows-i >= 4
		switch {
		case b.f16 != nil && four:
			panelNEONx4half(x, step*4, (*uint16)(&b.f16[0]), &o[0], ld*4, n)
			panelNEONx4half(x, step*4, (*uint16)(&b.f16[16]), &o[16], ld*4, n)
		case b.f16 != nil:
			panelNEONx1half(x, step*4, (*uint16)(&b.f16[0]), &o[0], ld*4, n)
		case four:
			panelNEONx4(x, step*4, &b.f32[0], &o[0], ld*4, n)
			panelNEONx4(x, step*4, &b.f32[16], &o[16], ld*4, n)
		default:
			panelNEONx1(x, step*4, &b.f32[0], &o[0], ld*4, n)
		}
		if i++; four {
			i += 3
		}
	}
}

// The rest is left to Go: it takes a few percent of the time.

func quantizeColumn(_ ISA, t tile, c int, x []float32) uint32 { return quantizeColumnPortable(t, c, x) }

func packTile(_ ISA, dst, x []float32, ld, rows, n int) { packTilePortable(dst, x, ld, rows, n) }

func addSquares(_ ISA, l *laneSum, x []float32, m float32) { l.addSquares(x, m) }

func expSum(_ ISA, l *laneSum, x []float32, top float32) { l.expSum(x, top) }

func divide(_ ISA, x []float32, by float32) { dividePortable(x, by) }

func scale(_ ISA, x []float32, f float32) (top float32, ok bool) { return scalePortable(x, f) }

func siluSlice(_ ISA, dst, x []float32) { siluPortable(dst, x) }

func geluSlice(_ ISA, dst, x []float32) { geluPortable(dst, x) }
