//go:build !plant_thin

package planted

// Thin is off.
const Thin = false
