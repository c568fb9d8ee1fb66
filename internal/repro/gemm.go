package repro

import "fmt"

const (
	panelRows = 32  // rows that are computed together
	tileRows  = 8   // vectors that are computed together
	depth     = 512 // columns until partial results go to memory and come back
	// chunkPanels panels, depth deep, fill half of a cache of 1 MiB. They share the
	// work of packing a tile of vectors.
	chunkPanels = 8
)

// Format is how floating-point values are kept: weights of a [FloatMatrix], keys
// and values of a [KV].
type Format uint8

// F32 keeps all bits, F16 rounds to binary16 (nearest, ties to even).
const (
	F32 Format = iota
	F16
)

func (f Format) String() string { return [...]string{"f32", "f16"}[f&1] }

// store is a run of values in one of the formats.
type store struct {
	f32 []float32
	f16 []Float16
}

func newStore(f Format, n int) store {
	if f == F16 {
		return store{f16: largeSlice[Float16](n)}
	}
	return store{f32: largeSlice[float32](n)}
}

func (s store) from(i int) store {
	if s.f16 != nil {
		return store{f16: s.f16[i:]}
	}
	return store{f32: s.f32[i:]}
}

func (s store) set(i int, v float32) {
	if s.f16 != nil {
		s.f16[i] = ToFloat16(v)
	} else {
		s.f32[i] = v
	}
}

func (s store) at(i int) float32 {
	if s.f16 != nil {
		return s.f16[i].Float32()
	}
	return s.f32[i]
}

// fits refuses what the format cannot hold, and names the first such element.
func (f Format) fits(x []float32) error {
	if err := Finite(x); err != nil || f != F16 {
		return err
	}
	for i, v := range x {
		if !ToFloat16(v).IsFinite() {
			return fmt.Errorf("element %d is %g, too large for binary16: %w", i, v, ErrNotFinite)
		}
	}
	return nil
}

// FloatMatrix holds weights in a floating-point format, in a layout for the
// kernels. It may hold any range of a tensor's rows.
type FloatMatrix struct {
	rows, cols int
	format     Format
	// Rows stand in panels of 32, the last padded with zeros; the element of row r
	// and column k is at k·32 + r of its panel.
	w store
}

// NewFloatMatrix returns a matrix of zeros to be filled by SetRow.
func NewFloatMatrix(rows, cols int, format Format) (*FloatMatrix, error) {
	if rows < 1 || rows > maxRows || cols < 1 || cols > 1<<24 || rows*cols > maxValues || format > F16 {
		return nil, fmt.Errorf("matrix of %d×%d in format %d: want 1 to %d rows, 1 to %d columns, at most %d values, a known format", rows, cols, format, maxRows, 1<<24, maxValues)
	}
	n := (rows + panelRows - 1) / panelRows * panelRows * cols
	return &FloatMatrix{rows: rows, cols: cols, format: format, w: newStore(format, n)}, nil
}

// Rows returns the length of a product.
func (m *FloatMatrix) Rows() int { return m.rows }

// Cols returns the length of a row and of the vectors it is multiplied with.
func (m *FloatMatrix) Cols() int { return m.cols }

// SetRow stores row r, rounded to the matrix's format. It refuses NaN, infinities
// and what the format cannot hold.
func (m *FloatMatrix) SetRow(r int, w []float32) error {
	if r < 0 || r >= m.rows || len(w) != m.cols {
		return fmt.Errorf("matrix of %d×%d: row %d of %d weights", m.rows, m.cols, r, len(w))
	}
	if err := m.format.fits(w); err != nil {
		return fmt.Errorf("matrix: row %d: %w", r, err)
	}
	at := m.index(r)
	for k, v := range w {
		m.w.set(at+k*panelRows, v)
	}
	return nil
}

// Set stores all rows, one after another, in a matrix of binary32. It is for
// weights that change between products, as in training: it does not look for NaN
// and infinities, which go on to the products. It panics if the sizes do not fit.
func (m *FloatMatrix) Set(w []float32) {
	m.mustHold(w)
	for first := 0; first < m.rows; first += panelRows {
		rows := min(panelRows, m.rows-first)
		panel := m.w.f32[first*m.cols:]
		for k := 0; k < m.cols; k += tileColumns { // so many columns of a panel stay in the first cache
			kn := min(tileColumns, m.cols-k)
			for r := range rows {
				row := w[(first+r)*m.cols+k:][:kn]
				for i, v := range row {
					panel[(k+i)*panelRows+r] = v
				}
			}
		}
	}
}

// SetColumns is Set for the transpose: w holds Cols columns of Rows elements, one
// after another.
func (m *FloatMatrix) SetColumns(w []float32) {
	m.mustHold(w)
	for first := 0; first < m.rows; first += panelRows {
		rows := min(panelRows, m.rows-first)
		panel := m.w.f32[first*m.cols:]
		for k := range m.cols {
			copy(panel[k*panelRows:][:rows], w[k*m.rows+first:])
		}
	}
}

func (m *FloatMatrix) mustHold(w []float32) {
	if m.format != F32 || len(w) != m.rows*m.cols {
		panic(fmt.Sprintf("repro: %d values for %d×%d weights in %v: want as many, in f32", len(w), m.rows, m.cols, m.format))
	}
}

// Row writes the weights of row r to dst, which has Cols elements.
func (m *FloatMatrix) Row(dst []float32, r int) {
	at := m.index(r)
	for k := range dst[:m.cols] {
		dst[k] = m.w.at(at + k*panelRows)
	}
}

func (m *FloatMatrix) index(r int) int { return r/panelRows*panelRows*m.cols + r%panelRows }

// Mul multiplies m with the vectors in x, one after another, by rule 3: dst holds
// a product of Rows elements for each. It panics if the sizes do not fit. x is
// not looked at for NaN and infinities: they go on to dst.
func (m *FloatMatrix) Mul(dst, x []float32, pool *Pool) {
	n := len(x) / m.cols
	if n*m.cols != len(x) || len(dst) != n*m.rows {
		panic(fmt.Sprintf("repro: product of %d×%d weights and %d values into %d results", m.rows, m.cols, len(x), len(dst)))
	}
	pool.mu.Lock()
	defer pool.mu.Unlock()
	j := &pool.jobs.panels
	panels := (m.rows + panelRows - 1) / panelRows
	most := chunkPanels * depth / min(depth, m.cols) // of shallow ones more fit
	*j = panelsJob{m: m, x: x, dst: dst, n: n, chunk: min(panels, most)}
	if len(pool.workers) > 0 {
		j.chunk = min(most, chunk(panels, m.cols*panelRows*(4+n), pool.Threads()))
	}
	pool.run(j, (panels+j.chunk-1)/j.chunk)
	*j = panelsJob{}
}

// panelsJob multiplies chunk panels of rows with n vectors.
type panelsJob struct {
	m      *FloatMatrix
	x, dst []float32
	n      int
	chunk  int
}

func (j *panelsJob) piece(isa ISA, _, i int) {
	m := j.m
	lo := i * j.chunk
	hi := min(lo+j.chunk, (m.rows+panelRows-1)/panelRows)
	for c := range j.n {
		clear(j.dst[c*m.rows+lo*panelRows : c*m.rows+min(hi*panelRows, m.rows)])
	}
	var packed [depth * tileRows]float32
	for k := 0; k < m.cols; k += depth {
		kn := min(depth, m.cols-k)
		for c := 0; c < j.n; c += tileRows {
			rows := min(tileRows, j.n-c)
			a, step := j.x[c*m.cols+k:], 1
			if rows > 1 {
				a, step = packed[:], tileRows
				packTile(isa, a, j.x[c*m.cols+k:], m.cols, rows, kn)
			}
			for p := lo; p < hi; p++ {
				j.panel(isa, a, step, p, k, kn, c, rows)
			}
		}
	}
}

// panel adds columns k to k+kn of panel p to the results of vectors c to c+rows.
func (j *panelsJob) panel(isa ISA, a []float32, step, p, k, kn, c, rows int) {
	m := j.m
	b := m.w.from((p*m.cols + k) * panelRows)
	first := p * panelRows
	if first+panelRows <= m.rows {
		mulPanel(isa, rows, a, step, b, kn, j.dst[c*m.rows+first:], m.rows)
		return
	}
	// The last panel is not full: its padding must not be written to dst.
	var out [tileRows * panelRows]float32
	for r := range rows {
		copy(out[r*panelRows:], j.dst[(c+r)*m.rows+first:(c+r+1)*m.rows])
	}
	if m.rows-first <= panelRows/2 {
		mulNarrow(isa, rows, a, step, b, kn, out[:], panelRows)
	} else {
		mulPanel(isa, rows, a, step, b, kn, out[:], panelRows)
	}
	for r := range rows {
		copy(j.dst[(c+r)*m.rows+first:(c+r+1)*m.rows], out[r*panelRows:])
	}
}

// packTilePortable writes rows vectors of n values, ld apart in x, to dst so that
// element k of vector r is at k·8 + r.
func packTilePortable(dst, x []float32, ld, rows, n int) {
	for r := range rows {
		row := x[r*ld : r*ld+n]
		d := dst[r : r+(n-1)*tileRows+1]
		for k, v := range row {
			d[k*tileRows] = v
		}
	}
}

// mulPanelPortable is rule 3 for a panel: for rows values of i and 32 of c,
// out[i·ld+c] is continued with the products a[k·step+i]·b[k·32+c], k ascending.
func mulPanelPortable(rows int, a []float32, step int, b store, n int, out []float32, ld int) {
	var wide [panelRows * 64]float32 // binary16 is widened once for all rows
	for k := 0; k < n; k += 64 {
		kn := min(64, n-k)
		part := b.from(k * panelRows).f32
		if b.f16 != nil {
			for i, h := range b.f16[k*panelRows : (k+kn)*panelRows] {
				wide[i] = h.Float32()
			}
			part = wide[:]
		}
		for i := range rows {
			row := out[i*ld : i*ld+panelRows]
			for c := 0; c < panelRows; c += 4 {
				chain4((*[4]float32)(row[c:]), a[k*step+i:], step, part[c:], kn)
			}
		}
	}
}

// chain4 continues four chains of rule 3.
func chain4(out *[4]float32, a []float32, step int, b []float32, n int) {
	c0, c1, c2, c3 := out[0], out[1], out[2], out[3]
	for k := range n {
		x, y := a[k*step], (*[4]float32)(b[k*panelRows:])
		c0 = float32(c0 + float32(x*y[0]))
		c1 = float32(c1 + float32(x*y[1]))
		c2 = float32(c2 + float32(x*y[2]))
		c3 = float32(c3 + float32(x*y[3]))
	}
	*out = [4]float32{c0, c1, c2, c3}
}
