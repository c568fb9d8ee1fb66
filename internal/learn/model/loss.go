package model

import (
	"fmt"

	"atoll/internal/repro"
)

// leastShare stands for all probabilities below it when their logarithm is taken:
// 2^-126, the least normal binary32.
const leastShare = 0x1p-126

// slopes turns the outputs of rows with these labels into the slopes of their losses,
// in place, and returns the sum of losses: cross entropies, in nats. Outputs that are
// not finite are refused.
func slopes(outputs []float32, labels []int32) (float64, error) {
	k := len(outputs) / len(labels)
	var total float64
	for i, label := range labels {
		row := outputs[i*k:][:k]
		p, err := rowSlopes(row, label)
		if err != nil {
			return 0, err
		}
		lost, err := repro.Log(max(p, leastShare))
		if err != nil {
			return 0, err
		}
		total -= float64(lost)
	}
	return total, nil
}

// rowSlopes is slopes of one row. It returns the probability of the label.
func rowSlopes(row []float32, label int32) (float32, error) {
	if len(row) > 1 {
		if err := repro.Softmax(row, row); err != nil {
			return 0, err
		}
		p := row[label]
		row[label] -= 1
		return p, nil
	}
	sign := float32(2*label - 1) // the log odds of the label, either way
	p, err := repro.Sigmoid(float32(sign * row[0]))
	if err != nil {
		return 0, fmt.Errorf("log odds: %w", err)
	}
	row[0] = float32(sign * float32(p-1))
	return p, nil
}
