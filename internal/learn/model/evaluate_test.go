package model

import (
	"math"
	"slices"
	"testing"

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
