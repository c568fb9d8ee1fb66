package llm

import (
	"context"

	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// linear is a matrix of weights in one of the two forms, with a bias or none.
type linear struct {
	q    *repro.Matrix
	f    *repro.FloatMatrix
	bias []float32
}

// loadStep is about how many weights are read from disk at a time.
const loadStep = 1 << 20

// loadLinear reads rows of a matrix.
func loadLinear(ctx context.Context, t *weights.Tensor, rows Rows, p Profile) (l linear, err error) {
	step := max(1, loadStep/t.Cols)
	if p.quantised(t.Cols) {
		if l.q, err = repro.NewMatrix(rows.Len(), t.Cols); err != nil {
			return l, err
		}
		size := repro.RowBytes(t.Cols)
		buf := make([]byte, min(step, rows.Len())*size)
		for r := 0; r < rows.Len() && err == nil; r += step {
			n := min(step, rows.Len()-r)
			if err = ctx.Err(); err == nil {
				err = t.ReadQ8(buf[:n*size], rows.First+r, n)
			}
			if err == nil {
				err = l.q.SetRows(r, buf[:n*size])
			}
		}
		return l, err
	}
	if l.f, err = repro.NewFloatMatrix(rows.Len(), t.Cols, repro.F32); err != nil {
		return l, err
	}
	buf := make([]float32, min(step, rows.Len())*t.Cols)
	for r := 0; r < rows.Len(); r += step {
		n := min(step, rows.Len()-r)
		if err := ctx.Err(); err != nil {
			return l, err
		}
		if err := t.ReadRows(buf[:n*t.Cols], rows.First+r, n); err != nil {
			return l, err
		}
		for i := range n {
			if err := l.f.SetRow(r+i, buf[i*t.Cols:(i+1)*t.Cols]); err != nil {
				return l, err
			}
		}
	}
	return l, nil
}

// row writes the weights of one row to dst.
func (l *linear) row(dst []float32, r int) {
	if l.q != nil {
		l.q.Row(dst, r)
	} else {
		l.f.Row(dst, r)
	}
}

// operand is vectors about to be multiplied with one matrix or several that have
// the same number of columns: as they are, and quantised if these want it so.
type operand struct {
	x []float32
	a *repro.Activations
}

// mul sets dst to the products of l with the vectors of x.
func (l *linear) mul(dst []float32, x operand, pool *repro.Pool) {
	if l.q != nil {
		l.q.Mul(dst, x.a, pool)
	} else {
		l.f.Mul(dst, x.x, pool)
	}
	for n := len(l.bias); n > 0 && len(dst) > 0; dst = dst[n:] {
		repro.Add(dst[:n], l.bias, pool)
	}
}
