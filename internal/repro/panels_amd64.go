package repro

// packTile is packTilePortable; the kernel does 8 rows and multiples of 8 columns.
func packTile(isa ISA, dst, x []float32, ld, rows, n int) {
	done := 0
	if isa != Portable && rows == tileRows {
		for done = 0; done < n&^7; {
			step := min(callElements, n&^7-done)
			packAVX2(&dst[done*tileRows], &x[done], ld*4, step)
			done += step
		}
	}
	if done < n {
		packTilePortable(dst[done*tileRows:], x[done:], ld, rows, n-done)
	}
}

// mulPanel is rule 3 for a panel: for rows values of i and 32 of c, out[i·ld+c] is
// continued with the products a[k·step+i]·b[k·32+c], k ascending.
func mulPanel(isa ISA, rows int, a []float32, step int, b store, n int, out []float32, ld int) {
	switch {
	case isa == Portable:
		mulPanelPortable(rows, a, step, b, n, out, ld)
	case b.f16 != nil:
		mulPanelHalf(isa, rows, a, step, (*[panelRows]Float16)(b.f16), n, out, ld)
	default:
		mulPanelFull(isa, rows, a, step, (*[panelRows]float32)(b.f32), n, out, ld, false)
	}
}

// mulNarrow is mulPanel where only the first 16 columns are wanted; the others of
// out may become anything.
func mulNarrow(isa ISA, rows int, a []float32, step int, b store, n int, out []float32, ld int) {
	if isa == Portable || b.f16 != nil {
		mulPanel(isa, rows, a, step, b, n, out, ld)
		return
	}
	mulPanelFull(isa, rows, a, step, (*[panelRows]float32)(b.f32), n, out, ld, true)
}

func mulPanelFull(isa ISA, rows int, a []float32, step int, b *[panelRows]float32, n int, out []float32, ld int, narrow bool) {
	step *= 4
	for i := 0; i < rows; {
		x, o, left := &a[i], out[i*ld:], rows-i
		switch {
		case isa == AVX512 && left >= 8 && narrow:
			panelAVX512x8narrow(x, step, &b[0], &o[0], ld*4, n)
			i += 8
		case isa == AVX512 && left >= 8:
			panelAVX512x8(x, step, &b[0], &o[0], ld*4, n)
			i += 8
		case isa == AVX512 && left >= 4:
			panelAVX512x4(x, step, &b[0], &o[0], ld*4, n)
			i += 4
		case isa == AVX512 && left >= 2:
			panelAVX512x2(x, step, &b[0], &o[0], ld*4, n)
			i += 2
		case isa == AVX512:
			panelAVX512x1(x, step, &b[0], &o[0], ld*4, n)
			i++
		case left >= 4:
			panelAVX2x4(x, step, &b[0], &o[0], ld*4, n)
			if !narrow {
				panelAVX2x4(x, step, &b[16], &o[16], ld*4, n)
			}
			i += 4
		case left >= 2:
			panelAVX2x2(x, step, &b[0], &o[0], ld*4, n)
			panelAVX2x2(x, step, &b[16], &o[16], ld*4, n)
			i += 2
		default:
			panelAVX2x1(x, step, &b[0], &o[0], ld*4, n)
			i++
		}
	}
}

func mulPanelHalf(isa ISA, rows int, a []float32, step int, b *[panelRows]Float16, n int, out []float32, ld int) {
	step *= 4
	for i := 0; i < rows; {
		x, o, left := &a[i], out[i*ld:], rows-i
		switch {
		case isa == AVX512 && left >= 8:
			panelAVX512x8half(x, step, (*uint16)(&b[0]), &o[0], ld*4, n)
			i += 8
		case isa == AVX512 && left >= 4:
			panelAVX512x4half(x, step, (*uint16)(&b[0]), &o[0], ld*4, n)
			i += 4
		case isa == AVX512 && left >= 2:
			panelAVX512x2half(x, step, (*uint16)(&b[0]), &o[0], ld*4, n)
			i += 2
		case isa == AVX512:
			panelAVX512x1half(x, step, (*uint16)(&b[0]), &o[0], ld*4, n)
			i++
		case left >= 4:
			panelAVX2x4half(x, step, (*uint16)(&b[0]), &o[0], ld*4, n)
			panelAVX2x4half(x, step, (*uint16)(&b[16]), &o[16], ld*4, n)
			i += 4
		case left >= 2:
			panelAVX2x2half(x, step, (*uint16)(&b[0]), &o[0], ld*4, n)
			panelAVX2x2half(x, step, (*uint16)(&b[16]), &o[16], ld*4, n)
			i += 2
		default:
			panelAVX2x1half(x, step, (*uint16)(&b[0]), &o[0], ld*4, n)
			i++
		}
	}
}
