//go:build !plant_twice

package planted

// Twice is off.
const Twice = false
