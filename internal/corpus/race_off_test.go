//go:build !race

package corpus_test

const underRace = false
