package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"atoll/internal/repro"
)

// KernelRow is one product of a Q8_0 matrix and vectors, by one thread.
type KernelRow struct {
	Rows    int `json:"rows"`
	Cols    int `json:"cols"`
	Vectors int `json:"vectors"`
	// From says where the weights come from: "cache" (the same matrix again and
	// again) or "memory" (one of many each time).
	From    string   `json:"from"`
	GBPerS  float64  `json:"gb_per_s"` // of weights
	GOPPerS float64  `json:"gop_per_s"`
	Read    *float64 `json:"read_gb_per_s,omitempty"` // of a loop that only adds the bytes up, in the same rounds
}

// fromMemory is how many bytes are gone through where weights shall not be found
// in a cache: several times the largest.
const fromMemory = 512 << 20

// kernelTime is about how long one measurement runs.
const kernelTime = 150 * time.Millisecond

var kernelShapes = []struct{ rows, cols, vectors int }{
	{576, 576, 1}, {1536, 576, 1}, {2048, 2048, 1}, {5632, 2048, 1}, {32000, 2048, 1},
	{576, 576, 128}, {1536, 576, 128}, {2048, 2048, 128}, {5632, 2048, 128}, {32000, 2048, 128},
}

// kernels measures each shape, and reading as an anchor beside those that stream
// from memory.
func kernels(ctx context.Context, cfg *LLMConfig, isa repro.ISA) ([]KernelRow, error) {
	pool, err := repro.NewPool(1, isa)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	var out []KernelRow
	total := 2 * len(kernelShapes)
	for i, s := range kernelShapes {
		for j, from := range []string{"cache", "memory"} {
			if from == "memory" && s.vectors > 1 {
				continue // weights are read once for all vectors: it hardly matters
			}
			cfg.Watch(2*i+j, total, fmt.Sprintf("kernel %d×%d×%d from %s", s.rows, s.cols, s.vectors, from))
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			row := KernelRow{Rows: s.rows, Cols: s.cols, Vectors: s.vectors, From: from}
			if err := row.measure(cfg.Rounds, pool); err != nil {
				return nil, err
			}
			out = append(out, row)
		}
	}
	return out, nil
}

func (k *KernelRow) measure(rounds int, pool *repro.Pool) error {
	size := k.Rows * repro.RowBytes(k.Cols)
	matrices := make([]*repro.Matrix, 1)
	var other []uint64
	if k.From == "memory" {
		matrices, other = make([]*repro.Matrix, max(fromMemory/size, 2)), numbers(fromMemory)
	}
	random := repro.NewRandom(1)
	for i := range matrices {
		var err error
		if matrices[i], err = randomMatrix(random, k.Rows, k.Cols); err != nil {
			return err
		}
	}
	x := make([]float32, k.Vectors*k.Cols)
	for i := range x {
		x[i] = float32(int64(random.Uint64())) / (1 << 63)
	}
	a, err := repro.NewActivations(k.Cols, k.Vectors)
	if err == nil {
		err = a.Set(x, pool)
	}
	if err != nil {
		return err
	}
	dst := make([]float32, k.Vectors*k.Rows)
	next := 0
	multiply := func() {
		matrices[next%len(matrices)].Mul(dst, a, pool)
		next++
	}
	var ours, reads []float64
	for range rounds {
		ours = append(ours, float64(size)/perCall(multiply))
		if other != nil {
			reads = append(reads, 8*float64(len(other))/perCall(func() { runtime.KeepAlive(sum(other)) }))
		}
	}
	k.GBPerS = middle(ours)
	k.GOPPerS = k.GBPerS / float64(size) * 2 * float64(k.Rows*k.Cols*k.Vectors)
	if reads != nil {
		v := middle(reads)
		k.Read = &v
	}
	return nil
}

func randomMatrix(r *repro.Random, rows, cols int) (*repro.Matrix, error) {
	m, err := repro.NewMatrix(rows, cols)
	if err != nil {
		return nil, err
	}
	// Rows repeat: what a product costs does not depend on the numbers.
	blocks := make([]byte, 16*repro.RowBytes(cols))
	for i := range blocks {
		if blocks[i] = byte(r.Uint64()); i%repro.BlockBytes == 1 {
			blocks[i] = 0x0c // the scale is about 2^-12
		}
	}
	for i := 0; i < rows; i += 16 {
		n := min(16, rows-i)
		if err := m.SetRows(i, blocks[:n*repro.RowBytes(cols)]); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// perCall calls f for a while and returns how many nanoseconds each took.
func perCall(f func()) float64 {
	f()
	began, n := time.Now(), 0
	for time.Since(began) < kernelTime {
		f()
		n++
	}
	return float64(time.Since(began)) / float64(n)
}

func sum(x []uint64) uint64 {
	var s0, s1, s2, s3 uint64
	for i := 0; i+4 <= len(x); i += 4 {
		v := (*[4]uint64)(x[i:])
		s0, s1, s2, s3 = s0+v[0], s1+v[1], s2+v[2], s3+v[3]
	}
	return s0 + s1 + s2 + s3
}

// numbers are so many bytes of memory, each page of its own.
func numbers(bytes int) []uint64 {
	x := make([]uint64, bytes/8)
	for i := range x {
		x[i] = uint64(i)
	}
	return x
}
