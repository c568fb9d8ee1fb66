//go:build plant_thin

package planted

// Thin is planted.
const Thin = true
