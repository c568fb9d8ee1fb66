//go:build !plant_commit

package planted

// Commit is off.
const Commit = false
