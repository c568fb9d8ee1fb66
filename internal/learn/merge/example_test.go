package merge_test

import (
	"fmt"

	"atoll/internal/learn/merge"
)

// Two rounds of FedAvg with momentum over sites of 300 and 100 rows.
func Example() {
	server := merge.Optimizer{Method: merge.Momentum, Momentum: 0.5}
	params := []float32{0, 0}
	var state merge.State // stored between rounds
	for range 2 {
		mean, err := merge.Mean([][]float32{{1, 0}, {0, 4}}, []int{300, 100})
		if err != nil {
			fmt.Println(err)
			return
		}
		if params, state, err = server.Step(params, mean, state); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(state.Rounds, mean, params)
	}
	// Output:
	// 1 [0.75 1] [0.75 1]
	// 2 [0.75 1] [1.875 2.5]
}
