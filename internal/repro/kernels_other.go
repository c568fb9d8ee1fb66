//go:build !amd64 && !arm64

package repro

func machineISAs() []ISA { return nil }

func quantizeColumn(_ ISA, t tile, c int, x []float32) uint32 { return quantizeColumnPortable(t, c, x) }

func q8Tile(_ ISA, out []float32, ld int, m *Matrix, g int, t tile) { q8TilePortable(out, ld, m, g, t) }

func q8Column(_ ISA, out []float32, m *Matrix, lo, hi int, t tile) {
	q8ColumnPortable(out, m, lo, hi, t)
}

func mulPanel(_ ISA, rows int, a []float32, step int, b store, n int, out []float32, ld int) {
	mulPanelPortable(rows, a, step, b, n, out, ld)
}

func mulNarrow(isa ISA, rows int, a []float32, step int, b store, n int, out []float32, ld int) {
	mulPanel(isa, rows, a, step, b, n, out, ld)
}

func packTile(_ ISA, dst, x []float32, ld, rows, n int) { packTilePortable(dst, x, ld, rows, n) }

func addSquares(_ ISA, l *laneSum, x []float32, m float32) { l.addSquares(x, m) }

func expSum(_ ISA, l *laneSum, x []float32, top float32) { l.expSum(x, top) }

func divide(_ ISA, x []float32, by float32) { dividePortable(x, by) }

func scale(_ ISA, x []float32, f float32) (top float32, ok bool) { return scalePortable(x, f) }

func siluSlice(_ ISA, dst, x []float32) { siluPortable(dst, x) }

func geluSlice(_ ISA, dst, x []float32) { geluPortable(dst, x) }
