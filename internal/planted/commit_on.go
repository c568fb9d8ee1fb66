//go:build plant_commit

package planted

// Commit is planted.
const Commit = true
