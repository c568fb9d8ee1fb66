package llm

import (
	"cmp"
	"slices"

	"atoll/internal/repro"
)

// explain sets the logarithms of probability of a drawn token and of the best.
// It overwrites logits.
func (t *Token) explain(logits []float32, best int) error {
	if err := repro.LogSoftmax(logits, logits); err != nil {
		return err
	}
	t.Logprob = logits[t.ID]
	if best == 0 {
		return nil
	}
	better := func(a, b Alternative) int {
		return cmp.Or(cmp.Compare(b.Logprob, a.Logprob), cmp.Compare(a.ID, b.ID))
	}
	for i, v := range logits {
		x := Alternative{int32(i), v}
		if len(t.Top) == best && better(x, t.Top[best-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(t.Top, x, better)
		t.Top = slices.Insert(t.Top, at, x)
		t.Top = t.Top[:min(len(t.Top), best)]
	}
	return nil
}
