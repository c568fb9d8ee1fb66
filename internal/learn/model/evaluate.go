package model

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"atoll/internal/learn"
	"atoll/internal/learn/text"
	"atoll/internal/repro"
)

// Report says how a model did on rows. All numbers are integers, so that it can be
// signed, and equal work gives equal reports.
type Report struct {
	Rows     int        `json:"rows"`
	Loss     text.Micro `json:"loss_micro"` // mean cross entropy, in millionths of a nat
	Accuracy text.PPM   `json:"accuracy_ppm"`
	// F1 is that of the second of two classes, or the mean over more classes that occur.
	F1 text.PPM `json:"f1_ppm"`
	// AUC and Precision rank the rows by the score of the second of two classes: the
	// area under the ROC curve, and the average precision. Zero where there are more
	// classes, or rows of one class only.
	AUC       text.PPM `json:"auc_ppm,omitempty"`
	Precision text.PPM `json:"average_precision_ppm,omitempty"`
	// Confusion counts the rows of each class (first index) by the class named.
	Confusion [][]int `json:"confusion"`
}

// Evaluate measures a model on rows, which need not have more than one label.
func Evaluate(ctx context.Context, s Spec, params []float32, rows *learn.Examples, pool *repro.Pool) (Report, error) {
	scores, err := Scores(ctx, s, params, rows, pool)
	if err != nil {
		return Report{}, err
	}
	classes, k := len(s.Classes), s.Outputs()
	rep := Report{Rows: rows.Len(), Confusion: make([][]int, classes)}
	for i := range rep.Confusion {
		rep.Confusion[i] = make([]int, classes)
	}
	for i, label := range rows.Labels {
		rep.Confusion[label][named(scores[i*k:][:k])]++
	}
	if classes == 2 {
		rep.AUC, rep.Precision = ranked(scores, rows.Labels)
	}
	total, err := slopes(scores, rows.Labels) // no more scores after this
	if err != nil {
		return Report{}, err
	}
	rep.Loss = text.Micro(math.RoundToEven(total / float64(rep.Rows) * 1e6))
	rep.count()
	return rep, nil
}

// Scores returns the model's outputs for each row: the log odds of the second of two
// classes, or a score for each class, of which the softmax is their probabilities.
func Scores(ctx context.Context, s Spec, params []float32, rows *learn.Examples, pool *repro.Pool) ([]float32, error) {
	if err := s.checkParams(params); err != nil {
		return nil, err
	}
	if err := rows.Check(len(s.Classes)); err != nil {
		return nil, err
	}
	net, err := newNetwork(s, rows, chunkRows, pool)
	if err != nil {
		return nil, err
	}
	net.load(params)
	scores := make([]float32, 0, rows.Len()*s.Outputs())
	chunk := make([]int, 0, chunkRows)
	for at := 0; at < rows.Len(); at += chunkRows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		chunk = chunk[:0]
		for i := at; i < min(at+chunkRows, rows.Len()); i++ {
			chunk = append(chunk, i)
		}
		scores = append(scores, net.forward(chunk)...)
	}
	if err := repro.Finite(scores); err != nil {
		return nil, fmt.Errorf("scores: %w", err)
	}
	return scores, nil
}

// named returns the class that scores speak for; of equal ones the first.
func named(scores []float32) int {
	if len(scores) == 1 {
		if scores[0] > 0 {
			return 1
		}
		return 0
	}
	best := 0
	for i, v := range scores {
		if v > scores[best] {
			best = i
		}
	}
	return best
}

// count derives accuracy and F1 from the confusion.
func (r *Report) count() {
	right, occur, sum := 0, 0, 0
	for i, row := range r.Confusion {
		have, got := 0, 0
		for j, n := range row {
			have += n
			got += r.Confusion[j][i]
		}
		right += row[i]
		f1 := share(2*row[i], have+got)
		if len(r.Confusion) == 2 {
			r.F1 = f1 // of the second, at the end
			continue
		}
		if have > 0 {
			occur++
			sum += int(f1)
		}
	}
	r.Accuracy = share(right, r.Rows)
	if occur > 0 {
		r.F1 = text.PPM(sum / occur)
	}
}

// share is part/whole in parts per million, rounded down; 0 of nothing is 0.
func share(part, whole int) text.PPM {
	if whole == 0 {
		return 0
	}
	return text.PPM(int64(part) * 1_000_000 / int64(whole))
}

// ranked returns the area under the ROC curve, in which a tie counts half, and the
// average precision: the mean, over rows of the second class, of the precision among
// all rows that score no less.
func ranked(scores []float32, labels []int32) (auc, precision text.PPM) {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	var seen, hits int  // rows, and rows of the second class, down to here
	var pairs2 int64    // twice the pairs of either class in the right order
	var precise float64 // sum of precisions
	for at := 0; at < len(order); {
		end, tied := at, 0
		for ; end < len(order) && scores[order[end]] == scores[order[at]]; end++ {
			tied += int(labels[order[end]])
		}
		others := end - at - tied
		pairs2 += int64(others) * int64(2*hits+tied)
		seen, hits = seen+end-at, hits+tied
		precise += float64(tied) * float64(hits) / float64(seen)
		at = end
	}
	if hits == 0 || hits == seen {
		return 0, 0
	}
	all := float64(hits) * float64(seen-hits)
	return text.PPM(float64(pairs2) / 2 / all * 1e6), text.PPM(math.RoundToEven(precise / float64(hits) * 1e6))
}
