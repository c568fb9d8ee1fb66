package model

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/learn"
)

// The measures of four rows, by hand.
func TestReport(t *testing.T) {
	t.Parallel()
	s := Spec{Kind: Logistic, Inputs: 1, Classes: classes(2)}
	rows := &learn.Examples{Width: 1, X: []float32{3, 2, 1, -1, -1}, Labels: []int32{1, 0, 1, 0, 1}}
	rep, err := Evaluate(t.Context(), s, []float32{1, 0}, rows, newPool(t, 1, fastest()))
	if err != nil {
		t.Fatal(err)
	}
	// Ranks: 1 0 1 {0 1}. Pairs of 3·2 in order: 2 + 1 + ½ = 3½. Precisions: 1, 2/3, 3/5.
	if rep.AUC != 583_333 || rep.Precision != 755_556 || rep.Accuracy != 600_000 || rep.F1 != 666_666 ||
		!slices.Equal(rep.Confusion[0], []int{1, 1}) || !slices.Equal(rep.Confusion[1], []int{1, 2}) {
		t.Errorf("%+v", rep)
	}
	var want float64
	for _, z := range []float64{3, -2, 1, 1, -1} {
		want += math.Log1p(math.Exp(-z)) / 5
	}
	if math.Abs(float64(rep.Loss)/1e6-want) > 1e-5 {
		t.Errorf("loss %v, want %g", rep.Loss, want)
	}
}

// A row has the scores that it has alone, whatever rows are beside it.
func TestScoresOfRowsAlone(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 2, fastest())
	for name, c := range specs() {
		params, k := randomParams(c.spec), c.spec.Outputs()
		all, err := Scores(t.Context(), c.spec, params, c.rows, pool)
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.rows.Len() {
			one, err := Scores(t.Context(), c.spec, params, c.rows.Pick([]int{i}), pool)
			if err != nil || !slices.Equal(one, all[i*k:(i+1)*k]) {
				t.Errorf("%s, row %d: %v alone, %v among others (%v)", name, i, one, all[i*k:(i+1)*k], err)
			}
		}
	}
}

// The area under the curve is the share of pairs in the right order, and the average
// precision that of sklearn's definition, whatever the ties.
func TestRanking(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "n")
		scores, labels := make([]float32, n), make([]int32, n)
		for i := range n {
			scores[i] = float32(rapid.IntRange(0, 6).Draw(t, "score"))
			labels[i] = int32(rapid.IntRange(0, 1).Draw(t, "label"))
		}
		var pairs, right, precision, hits float64
		for i, a := range scores {
			if labels[i] == 0 {
				continue
			}
			var above, good float64 // rows that score no less
			for j, b := range scores {
				if b >= a {
					above++
					good += float64(labels[j])
				}
				if labels[j] == 0 {
					pairs++
					if a > b {
						right++
					} else if a == b {
						right += 0.5
					}
				}
			}
			hits++
			precision += good / above
		}
		auc, average := ranked(scores, labels)
		if pairs == 0 {
			if auc != 0 || average != 0 {
				t.Fatalf("one class alone: %v, %v", auc, average)
			}
			return
		}
		if math.Abs(float64(auc)-right/pairs*1e6) > 1 || math.Abs(float64(average)-precision/hits*1e6) > 1 {
			t.Fatalf("%v and %v, want %g and %g", auc, average, right/pairs, precision/hits)
		}
	})
}
