package privacy_test

import (
	"crypto/rand"
	"fmt"

	"atoll/internal/codec"
	"atoll/internal/keystream"
	"atoll/internal/learn/model"
	"atoll/internal/privacy"
)

// A round of ten clients whose sum is private, from the spec to the model.
func Example() {
	// What the federation's spec says.
	shape := codec.Shape{Dim: 1000, Clip: 1, Bits: 10}
	cohort := privacy.Cohort{Clients: 10, Least: 8, Corrupt: 3}
	target := privacy.Target{Epsilon: 8, Delta: 1e-6, Rounds: 20}

	// What everybody computes from it.
	grid, err := codec.NewGrid(shape)
	check(err)
	variance, err := target.SkellamVariance(grid.L1(), grid.L2())
	check(err)
	share, err := cohort.Share(variance)
	check(err)
	noise, err := privacy.NewSkellam(share)
	check(err)
	words, err := grid.Words(cohort.Clients, float64(cohort.Clients)*share, 1e-9)
	check(err)
	perRound, err := privacy.Skellam(grid.L1(), grid.L2(), variance, 1)
	check(err)

	// What each node does, on its own budget.
	budget, err := privacy.NewBudget("transactions", privacy.Limit{Unit: privacy.Site, Epsilon: 10, Delta: 1e-6})
	check(err)
	seed := keystream.Seed{1} // the round's
	sum := make([]uint32, grid.Len())
	for range cohort.Clients {
		after, charge, err := budget.Reserve(nil, privacy.Charge{ID: "round-1", Federation: "fraud", Round: 1, Unit: privacy.Site, Cost: perRound.Cost()})
		check(err)
		secret, err := keystream.Secret(rand.Reader)
		check(err)
		update := make([]float32, shape.Dim) // from the trainer
		vector, _, err := grid.Encode(update, seed, secret)
		check(err)
		noise.AddTo(vector, secret)
		words.Modulus.Reduce(vector)
		_, _, err = after.Spend(charge) // durable, and then the vector may leave
		check(err)
		for i, w := range vector { // masked, in earnest
			sum[i] += w
		}
	}
	words.Modulus.Reduce(sum)

	// What the hub does with the sum.
	total, err := grid.Decode(sum, words.Modulus, seed)
	check(err)

	epsilon, _ := perRound.Times(target.Rounds).Epsilon(target.Delta)
	fmt.Printf("%d values, %d bits each, ε = %.3f after %d rounds\n", len(total), words.Modulus, epsilon, target.Rounds)
	// Output:
	// 1000 values, 17 bits each, ε = 8.000 after 20 rounds
}

// A site trains by DP-SGD: noise for a wanted ε, and what it costs.
func ExampleCentral() {
	const sample, steps = 0.01, 2000
	noise, err := privacy.Target{Epsilon: 3, Delta: 1e-6, Rounds: steps, Rate: sample}.Noise()
	check(err)
	secret, err := keystream.Secret(rand.Reader)
	check(err)
	chance, err := privacy.NewCentral(500, 1, noise, secret)
	check(err)
	var _ model.Chance = chance // for model.Private{Steps: steps, Sample: sample, Clip: 1, Noise: noise, Chance: chance}

	cost, err := privacy.Gaussian(noise, sample)
	check(err)
	epsilon, _ := cost.Times(steps).Epsilon(1e-6)
	fmt.Printf("noise of %.3f clips, ε = %.3f after %d steps\n", noise, epsilon, steps)
	// Output: noise of 1.040 clips, ε = 3.000 after 2000 steps
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
