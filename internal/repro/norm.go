package repro

import (
	"fmt"
	"sync/atomic"
)

// RMSNorm normalises each row of x (of len(weight) elements) by its root mean
// square: s = Sum(RN(x²)); r = rsqrt(RN(RN(s/n) + eps)); dst = RN(RN(x·r)·weight).
// dst may be x. A row with NaN or infinities, or whose sum of squares overflows,
// is refused; dst is then undefined.
func RMSNorm(dst, x, weight []float32, eps float32, pool *Pool) error {
	return norm("RMS norm", each{op: opRMSNorm, dst: dst, x: x, w: weight, eps: eps}, pool)
}

// LayerNorm normalises each row of x (of len(weight) elements): m = RN(Sum(x)/n);
// s = Sum(RN(RN(x−m)²)); r = rsqrt(RN(RN(s/n) + eps));
// dst = RN(RN(RN(RN(x−m)·r)·weight) + bias). dst may be x. bias may be nil for
// none. Rows are refused as by [RMSNorm].
func LayerNorm(dst, x, weight, bias []float32, eps float32, pool *Pool) error {
	if bias != nil && len(bias) != len(weight) {
		return fmt.Errorf("layer norm: %d weights but %d biases", len(weight), len(bias))
	}
	return norm("layer norm", each{op: opLayerNorm, dst: dst, x: x, w: weight, b: bias, eps: eps}, pool)
}

func norm(what string, j each, pool *Pool) error {
	n := len(j.w)
	if n == 0 || len(j.x)%n != 0 || len(j.dst) != len(j.x) {
		return fmt.Errorf("%s: %d values into %d with %d weights: want rows as long as the weights", what, len(j.x), len(j.dst), n)
	}
	if !(j.eps > 0) || notFinite(j.eps) {
		return fmt.Errorf("%s: epsilon %g: want a positive number", what, j.eps)
	}
	j.size = n
	if row := pool.each(j); row >= 0 {
		if err := Finite(j.x[row*n : (row+1)*n]); err != nil && !overlap(j.dst, j.x) {
			return fmt.Errorf("%s: row %d: %w", what, row, err)
		}
		return fmt.Errorf("%s: row %d has no finite mean square: %w", what, row, ErrNotFinite)
	}
	return nil
}

func overlap(a, b []float32) bool { return len(a) > 0 && len(b) > 0 && &a[0] == &b[0] }

func rmsNorm(isa ISA, dst, x, w []float32, eps float32) bool {
	ms := float32(sumSquares(isa, x, 0)/float32(len(x))) + eps
	if notFinite(ms) {
		return false
	}
	r := rsqrt(ms)
	w, dst = w[:len(x)], dst[:len(x)]
	for i, v := range x {
		dst[i] = float32(v*r) * w[i]
	}
	return true
}

func layerNorm(isa ISA, dst, x, w, b []float32, eps float32) bool {
	n := float32(len(x))
	m := sum(x) / n
	ms := float32(sumSquares(isa, x, m)/n) + eps
	if notFinite(m) || notFinite(ms) {
		return false
	}
	r := rsqrt(ms)
	for i, v := range x {
		y := float32(float32(float32(v-m)*r) * w[i])
		if b != nil {
			y = float32(y + b[i])
		}
		dst[i] = y
	}
	return true
}

// each is an operation on rows, or on runs of elements, by themselves.
type each struct {
	op     op
	dst, x []float32
	w, b   []float32
	eps    float32
	size   int // elements in a row
}

type eachJob struct {
	each
	refused atomic.Int64 // a row that was refused, + 1
}

type op uint8

const (
	opRMSNorm op = iota
	opLayerNorm
	opSiLU
	opGELU
	opSwiGLU
	opGeGLU
	opAdd
)

// each runs e row by row and returns a refused row, or −1.
func (p *Pool) each(e each) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := &p.jobs.each
	j.each = e
	j.refused.Store(0)
	rows := (len(e.x) + e.size - 1) / e.size
	if len(e.x) < 1<<12 { // not worth waking anybody
		for i := range rows {
			j.piece(p.isa, 0, i)
		}
	} else {
		p.run(j, rows)
	}
	j.each = each{}
	return int(j.refused.Load()) - 1
}

func (j *eachJob) piece(isa ISA, _, i int) {
	lo, hi := i*j.size, min((i+1)*j.size, len(j.x))
	dst, x := j.dst[lo:hi], j.x[lo:hi]
	ok := true
	switch j.op {
	case opRMSNorm:
		ok = rmsNorm(isa, dst, x, j.w, j.eps)
	case opLayerNorm:
		ok = layerNorm(isa, dst, x, j.w, j.b, j.eps)
	case opSiLU:
		siluSlice(isa, dst, x)
	case opGELU:
		geluSlice(isa, dst, x)
	case opSwiGLU:
		siluSlice(isa, dst, x)
		multiply(dst, j.w[lo:hi])
	case opGeGLU:
		geluSlice(isa, dst, x)
		multiply(dst, j.w[lo:hi])
	case opAdd:
		for k, v := range x {
			dst[k] += v
		}
	}
	if !ok {
		j.refused.Store(int64(i) + 1)
	}
}
