//go:build plant_twice

package planted

// Twice is planted.
const Twice = true
