package model_test

import (
	"context"
	"fmt"

	"atoll/internal/learn"
	"atoll/internal/learn/merge"
	"atoll/internal/learn/model"
	"atoll/internal/repro"
)

// Three rounds over two sites that see other rows, in memory.
func Example() {
	pool, err := repro.NewPool(1, repro.Portable)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	ctx := context.Background()
	spec := model.Spec{Kind: model.MLP, Inputs: 2, Hidden: []int{4}, Classes: []string{"low", "high"}}
	sites := []*learn.Examples{
		{Width: 2, X: []float32{-1, 0, 1, 0, -2, 1}, Labels: []int32{0, 1, 0}},
		{Width: 2, X: []float32{2, 1, -1, -1, 1, -1}, Labels: []int32{1, 0, 1}},
	}
	server := merge.Optimizer{Method: merge.FedAvg}
	params := spec.Start(1)
	var state merge.State
	for round := range 3 {
		var updates [][]float32
		var weights []int
		for i, rows := range sites {
			config := model.Config{Epochs: 5, Batch: 2, Rate: 0.2, Seed: model.SeedOf("example", round, fmt.Sprint("site ", i))}
			u, err := model.Train(ctx, spec, params, rows, config, pool)
			if err != nil {
				fmt.Println(err)
				return
			}
			updates, weights = append(updates, u.Delta), append(weights, u.Rows)
		}
		mean, err := merge.Mean(updates, weights)
		if err != nil {
			fmt.Println(err)
			return
		}
		if params, state, err = server.Step(params, mean, state); err != nil {
			fmt.Println(err)
			return
		}
	}
	held := &learn.Examples{Width: 2, X: []float32{-1, 1, 3, 0}, Labels: []int32{0, 1}}
	rep, err := model.Evaluate(ctx, spec, params, held, pool)
	fmt.Println(rep.Rows, "rows, accuracy", rep.Accuracy, "loss", rep.Loss, err)
	file, err := model.Save(model.File{Spec: spec, Params: params})
	fmt.Println(len(file), "bytes", err)
	// Output:
	// 2 rows, accuracy 1.0000 loss 0.115 <nil>
	// 165 bytes <nil>
}
