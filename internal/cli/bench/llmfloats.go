package bench

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"atoll/internal/repro"
)

// FloatRow is one product of a matrix in binary32 and vectors, by one thread.
type FloatRow struct {
	Rows       int      `json:"rows"`
	Cols       int      `json:"cols"`
	Vectors    int      `json:"vectors"`
	GFLOPPerS  float64  `json:"gflop_per_s"`
	NumPy      *float64 `json:"numpy_gflop_per_s,omitempty"` // of its BLAS, between our rounds
	NumPyRatio *float64 `json:"ratio,omitempty"`             // our speed to its, the median of the rounds'
}

// Sizes that a model has, a cube, and some that do not fit the kernels.
var floatShapes = []struct{ rows, cols, vectors int }{
	{2048, 2048, 1}, {2048, 2048, 128}, {576, 576, 512}, {1024, 1024, 1024}, {100, 100, 1000}, {48, 1000, 100}, {1000, 33, 1000},
}

// floats measures each shape, with NumPy's BLAS between the rounds if there is one.
func floats(ctx context.Context, cfg *LLMConfig, isa repro.ISA) (rows []FloatRow, rival string, err error) {
	pool, err := repro.NewPool(1, isa)
	if err != nil {
		return nil, "", err
	}
	defer pool.Close()
	var np *numpy
	if cfg.NumPy != "" {
		if np, rival, err = startNumPy(ctx, cfg.NumPy); err != nil {
			return nil, "", err
		}
		defer np.stop()
	}
	for i, s := range floatShapes {
		cfg.Watch(i, len(floatShapes), fmt.Sprintf("binary32 %d×%d×%d", s.rows, s.cols, s.vectors))
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		row := FloatRow{Rows: s.rows, Cols: s.cols, Vectors: s.vectors}
		if err := row.measure(cfg.Rounds, pool, np); err != nil {
			return nil, "", err
		}
		rows = append(rows, row)
	}
	return rows, rival, nil
}

func (f *FloatRow) measure(rounds int, pool *repro.Pool, np *numpy) error {
	m, err := repro.NewFloatMatrix(f.Rows, f.Cols, repro.F32)
	if err != nil {
		return err
	}
	random := repro.NewRandom(1)
	values := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(int64(random.Uint64())) / (1 << 63)
		}
		return x
	}
	for r := range f.Rows {
		if err := m.SetRow(r, values(f.Cols)); err != nil {
			return err
		}
	}
	x, dst := values(f.Vectors*f.Cols), make([]float32, f.Vectors*f.Rows)
	work := 2 * float64(f.Rows) * float64(f.Cols) * float64(f.Vectors)
	var ours, theirs, ratios []float64
	for range rounds {
		mine := work / perCall(func() { m.Mul(dst, x, pool) })
		ours = append(ours, mine)
		if np == nil {
			continue
		}
		ns, err := np.perCall(f.Rows, f.Cols, f.Vectors)
		if err != nil {
			return err
		}
		theirs, ratios = append(theirs, work/ns), append(ratios, mine*ns/work)
	}
	f.GFLOPPerS = middle(ours)
	if theirs != nil {
		speed, ratio := middle(theirs), middle(ratios)
		f.NumPy, f.NumPyRatio = &speed, &ratio
	}
	return nil
}

//go:embed numpy.py
var numpyProgram string

// numpy is a Python that multiplies.
type numpy struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startNumPy returns nil, and why, if that Python has no NumPy. Its BLAS gets one
// thread, as we do; what else the environment tells it (OPENBLAS_CORETYPE) holds.
func startNumPy(ctx context.Context, python string) (_ *numpy, name string, err error) {
	n := &numpy{cmd: exec.CommandContext(ctx, python, "-c", numpyProgram)}
	n.cmd.Env = append(os.Environ(), "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "OMP_NUM_THREADS=1")
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		return nil, "", err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	n.out = bufio.NewReader(out)
	if err := n.cmd.Start(); errors.Is(err, exec.ErrNotFound) {
		return nil, "absent: " + err.Error(), nil
	} else if err != nil {
		return nil, "", err
	}
	name, err = n.line()
	if err != nil || strings.HasPrefix(name, "absent") {
		n.stop()
		return nil, name, err
	}
	return n, name, nil
}

func (n *numpy) line() (string, error) {
	text, err := n.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s with NumPy ended: %w", n.cmd.Path, err)
	}
	return strings.TrimSpace(text), nil
}

// perCall is how many nanoseconds a product takes there.
func (n *numpy) perCall(rows, cols, vectors int) (float64, error) {
	if _, err := fmt.Fprintln(n.in, rows, cols, vectors, kernelTime.Nanoseconds()); err != nil {
		return 0, err
	}
	text, err := n.line()
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseFloat(text, 64)
	if err == nil && ns <= 0 {
		err = errors.New("not above 0")
	}
	if err != nil {
		return 0, fmt.Errorf("%s says %q for the time of a product: %w", n.cmd.Path, text, err)
	}
	return ns, nil
}

func (n *numpy) stop() {
	if n != nil {
		_ = n.in.Close() // it ends by that
		_ = n.cmd.Wait() // what it measured is known
	}
}
