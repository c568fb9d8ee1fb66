// Package model has the models that a federation trains without further software:
// logistic regression, networks of ReLU layers, and a classifier of texts. A model is
// a [Spec], which says what it is made of, and its parameters, one flat vector, which
// is what sites send and what a hub adds up.
//
// # Training
//
// [Train] takes the parameters of a round and a site's rows, takes some steps of
// gradient descent, and returns how far the parameters came. Its result is a function
// of its arguments, bit for bit and on every machine and number of threads: all
// arithmetic is that of internal/repro, and the order of rows comes from a seed. So
// whoever owns the rows can do the step again and see that it was done as said.
//
// Rows are taken in batches, and a batch in chunks of up to 64 rows. A chunk's
// gradient is a product by rule 3 of internal/repro over its rows, in their order
// (a chunk that is not full counts as filled up with rows of zero gradient); the
// chunks of a batch are added one after another. A step is
// w = RN(w + RN(−RN(rate/rows)·g)), before which w is pulled, where so configured,
// towards zero (decay) and towards where it began (FedProx: Li et al., "Federated
// optimization in heterogeneous networks", 2020).
//
// # Privacy
//
// With [Private], training is DP-SGD (Abadi et al., "Deep learning with differential
// privacy", 2016): each step takes each row by chance (Poisson sampling), clips the
// gradient of each to a length, adds them up, adds noise, and divides by the number
// expected. A row's gradient is never written down: its length follows from the
// lengths of each layer's inputs and slopes (Goodfellow, "Efficient per-example
// gradient computations", 2015), and the slopes are scaled. The unit may instead be
// a customer with many rows, whose gradients are added up and clipped together.
//
// # Parameters
//
//	logistic, mlp   for each layer: weights, output by output, then a bias for each output
//	text            weights, bucket by bucket, each with one for every output; then the biases
//
// With two classes there is one output, the log odds of the second class; else one for
// each class. [Save] and [Load] keep a model in a file that describes itself.
package model
