package repro

import (
	"encoding/binary"
	"fmt"
)

const (
	// MaxColumns bounds the length of a row. The kernels cannot be preempted, and
	// the longest call of one takes under 100 µs with this.
	MaxColumns = 1 << 16
	// maxRows and maxValues keep all sizes far from overflow.
	maxRows   = 1 << 28
	maxValues = 1 << 40

	groupRows  = 16                    // rows that are computed together
	groupBytes = groupRows * BlockSize // a block of each of them
)

// Matrix holds weights quantised as GGUF Q8_0, in a layout for the kernels. A
// Matrix may hold all rows of a tensor or any range of them: rows do not depend
// on each other.
type Matrix struct {
	rows, cols int
	// Rows stand in groups of 16, the last padded with zeros. Within a group, for
	// block b: 8 times 16 rows of 4 bytes at b·512, and 16 scales at b·16. So one
	// vector register holds the same 4 columns of 16 rows, and multiplying it by
	// 4 activations needs no sum across the register.
	q     []int8
	scale []Float16
}

func checkColumns(k int) error {
	if k < BlockSize || k > MaxColumns || k%BlockSize != 0 {
		return fmt.Errorf("%d columns: want a multiple of %d up to %d", k, BlockSize, MaxColumns)
	}
	return nil
}

// NewMatrix returns a matrix of zeros to be filled by SetRows.
func NewMatrix(rows, cols int) (*Matrix, error) {
	if err := checkColumns(cols); err != nil {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	if rows < 1 || rows > maxRows || rows*cols > maxValues {
		return nil, fmt.Errorf("matrix of %d×%d: want 1 to %d rows, at most %d values", rows, cols, maxRows, maxValues)
	}
	groups := (rows + groupRows - 1) / groupRows
	nb := cols / BlockSize
	return &Matrix{rows: rows, cols: cols, q: largeSlice[int8](groups * nb * groupBytes), scale: largeSlice[Float16](groups * nb * groupRows)}, nil
}

// Rows returns the length of a product.
func (m *Matrix) Rows() int { return m.rows }

// Cols returns the length of a row and of the vectors it is multiplied with.
func (m *Matrix) Cols() int { return m.cols }

// RowBytes returns the size of one row of cols weights as GGUF Q8_0.
func RowBytes(cols int) int { return cols / BlockSize * BlockBytes }

// SetRows stores rows from first on, given as GGUF Q8_0 blocks, row after row. It
// refuses scales that are not finite.
func (m *Matrix) SetRows(first int, blocks []byte) error {
	size := RowBytes(m.cols)
	n := len(blocks) / size
	if n*size != len(blocks) || first < 0 || n > m.rows-first {
		return fmt.Errorf("matrix of %d×%d: %d bytes for rows from %d on: want whole rows of %d bytes", m.rows, m.cols, len(blocks), first, size)
	}
	for r := range n {
		if err := m.setRow(first+r, blocks[r*size:(r+1)*size]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Matrix) setRow(r int, blocks []byte) error {
	nb := m.cols / BlockSize
	lane := r % groupRows
	for b := range nb {
		block := blocks[b*BlockBytes : (b+1)*BlockBytes]
		d := Float16(binary.LittleEndian.Uint16(block))
		if !d.IsFinite() {
			return fmt.Errorf("matrix: scale of row %d, block %d: %w", r, b, ErrNotFinite)
		}
		i := r/groupRows*nb + b
		m.scale[i*groupRows+lane] = d
		dst := m.q[i*groupBytes+lane*4:]
		for j, v := range block[2:] {
			dst[j/4*groupRows*4+j%4] = int8(v)
		}
	}
	return nil
}

// Row writes the weights of row r to dst, which has Cols elements: RN(d·q), which
// is exact.
func (m *Matrix) Row(dst []float32, r int) {
	_ = dst[m.cols-1]
	nb := m.cols / BlockSize
	lane := r % groupRows
	for b := range nb {
		i := r/groupRows*nb + b
		d := m.scale[i*groupRows+lane].Float32()
		q := m.q[i*groupBytes+lane*4:]
		for j := range BlockSize {
			dst[b*BlockSize+j] = d * float32(q[j/4*groupRows*4+j%4])
		}
	}
}

// Mul multiplies m with the n vectors of x by rule 2: dst holds n products of
// Rows elements, one after another. It panics if the sizes do not fit.
//
// Results may overflow to an infinity, and from there to NaN, if weights or
// activations are huge; whatever takes them next refuses that.
func (m *Matrix) Mul(dst []float32, x *Activations, pool *Pool) {
	if x.k != m.cols || len(dst) != x.n*m.rows {
		panic(fmt.Sprintf("repro: product of %d×%d weights and %d vectors of %d into %d results", m.rows, m.cols, x.n, x.k, len(dst)))
	}
	if x.n == 0 {
		return
	}
	pool.mu.Lock()
	defer pool.mu.Unlock()
	j := &pool.jobs.mul
	groups := (m.rows + groupRows - 1) / groupRows
	*j = mulJob{m: m, x: x, dst: dst, chunk: groups}
	if len(pool.workers) > 0 {
		j.chunk = chunk(groups, m.cols*groupRows*(4+x.n)/4, pool.Threads())
	}
	pool.run(j, (groups+j.chunk-1)/j.chunk)
	*j = mulJob{}
}

// chunk divides n units of the given cost (in bytes read, or as long) among
// threads: pieces small enough to share out evenly, and large enough to be worth
// taking.
func chunk(n, cost, threads int) int {
	const least = 1 << 18
	return max(1, n/(4*threads), least/cost)
}

// mulJob multiplies chunk groups of rows with all columns.
type mulJob struct {
	m     *Matrix
	x     *Activations
	dst   []float32
	chunk int
}

func (j *mulJob) piece(isa ISA, _, i int) {
	m, x := j.m, j.x
	groups := (m.rows + groupRows - 1) / groupRows
	lo := i * j.chunk
	hi := min(lo+j.chunk, groups)
	whole := min(hi, m.rows/groupRows) // groups without padding
	if x.n == 1 {
		q8Column(isa, j.dst, m, lo, whole, x.tile(0, 1))
	} else {
		for g := lo; g < whole; g++ {
			for c := 0; c < x.n; c += tileColumns {
				q8Tile(isa, j.dst[c*m.rows+g*groupRows:], m.rows, m, g, x.tile(c/tileColumns, x.n))
			}
		}
	}
	if whole == hi {
		return
	}
	// The last group is not full: its padding must not be written to dst.
	var out [tileColumns * groupRows]float32
	for c := 0; c < x.n; c += tileColumns {
		t := x.tile(c/tileColumns, x.n)
		q8Tile(isa, out[:], groupRows, m, whole, t)
		for k := range t.width {
			copy(j.dst[(c+k)*m.rows+whole*groupRows:(c+k+1)*m.rows], out[k*groupRows:])
		}
	}
}

// group returns the weights and scales of group g.
func (m *Matrix) group(g int) ([]int8, []Float16) {
	nb := m.cols / BlockSize
	return m.q[g*nb*groupBytes : (g+1)*nb*groupBytes], m.scale[g*nb*groupRows : (g+1)*nb*groupRows]
}

// q8TilePortable is rule 2 for the 16 rows of group g and all columns of t. The
// results of column c stand in out at c·ld.
func q8TilePortable(out []float32, ld int, m *Matrix, g int, t tile) {
	q, scale := m.group(g)
	for c := range t.width {
		var acc [groupRows]float32
		for b := range m.cols / BlockSize {
			i := b*t.width + c
			x := (*[BlockSize]int8)(t.q[i*BlockSize:])
			w := (*[groupBytes]int8)(q[b*groupBytes:])
			var sum [groupRows]int32
			for j := 0; j < BlockSize; j += 4 {
				x0, x1, x2, x3 := int32(x[j]), int32(x[j+1]), int32(x[j+2]), int32(x[j+3])
				for r := range sum {
					v := (*[4]int8)(w[j*groupRows+r*4:])
					sum[r] += int32(v[0])*x0 + int32(v[1])*x1 + int32(v[2])*x2 + int32(v[3])*x3
				}
			}
			d, s := t.d[i], (*[groupRows]Float16)(scale[b*groupRows:])
			for r := range acc {
				f := float32(s[r].Float32() * d)
				acc[r] = float32(acc[r] + float32(float32(sum[r])*f))
			}
		}
		copy(out[c*ld:c*ld+groupRows], acc[:])
	}
}

// q8ColumnPortable is rule 2 for groups lo to hi and a single column.
func q8ColumnPortable(out []float32, m *Matrix, lo, hi int, t tile) {
	for g := lo; g < hi; g++ {
		q8TilePortable(out[g*groupRows:], groupRows, m, g, t)
	}
}
