package bench

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"atoll/internal/llm"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// bits computes the same on every instruction set that is here.
func bits(ctx context.Context) (map[string]string, error) {
	c := shape(weights.Config{Layers: 2, Dim: 96, FFN: 160, Heads: 3, KVHeads: 1, HeadDim: 32, Vocab: 320})
	w, err := weights.Random(c, 1)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var first string
	for _, isa := range repro.Available() {
		h := sha256.New()
		for _, profile := range []llm.Profile{llm.Q8, llm.F32} {
			logits, err := logits(ctx, w, profile, isa)
			if err != nil {
				return nil, err
			}
			for _, v := range logits {
				h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
			}
		}
		d := fmt.Sprintf("%x", h.Sum(nil))
		if out[isa.String()] = d; first == "" {
			first = d
		}
		if d != first {
			return nil, fmt.Errorf("%v computes other bits than %v: %s and %s", isa, repro.Portable, d, first)
		}
	}
	return out, nil
}

func logits(ctx context.Context, w *weights.Model, p llm.Profile, isa repro.ISA) ([]float32, error) {
	m, err := llm.Load(ctx, w, llm.Options{Profile: p})
	if err != nil {
		return nil, err
	}
	pool, err := repro.NewPool(2, isa)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	d, err := llm.NewDecoder(m, pool, llm.DecoderConfig{Pages: 2, Batch: 32, Context: 32})
	if err != nil {
		return nil, err
	}
	out, err := d.Forward([]llm.Span{{Pages: []int32{0, 1}, Tokens: prompt(0)[:32], Want: 32}})
	return slices.Clone(out), err
}
