package measure

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"time"

	"atoll/internal/repro"
)

// ModelBytes is the name of the benchmark that says how fast this machine goes
// through a language model's weights: bytes of Q8_0 matrices multiplied with a vector
// in a second, by all cores, out of memory.
const ModelBytes = "model_bytes"

// modelRate measures ModelBytes; 0 if it cannot be.
func modelRate(limit time.Duration, log *slog.Logger) int64 {
	// More than caches hold, so that it is memory that is measured.
	const rows, cols, layers = 2048, 2048, 8
	rate, err := func() (int64, error) {
		isa, err := repro.SelectISA(os.Getenv(repro.Variable))
		if err != nil {
			return 0, err
		}
		pool, err := repro.NewPool(runtime.GOMAXPROCS(0), isa)
		if err != nil {
			return 0, err
		}
		defer pool.Close()
		x, err := repro.NewActivations(cols, 1)
		if err != nil {
			return 0, err
		}
		var weights [layers]*repro.Matrix
		for i := range weights {
			if weights[i], err = repro.NewMatrix(rows, cols); err != nil {
				return 0, err
			}
		}
		if err := x.Set(make([]float32, cols), pool); err != nil {
			return 0, err
		}
		out := make([]float32, rows)
		const size = rows * cols / 32 * 34 * layers
		return rate(limit, size, func() {
			for _, w := range weights {
				w.Mul(out, x, pool)
			}
		}), nil
	}()
	if err != nil {
		log.Warn("this machine's speed with language models was not measured", "error", fmt.Errorf("benchmark: %w", err))
	}
	return rate
}
