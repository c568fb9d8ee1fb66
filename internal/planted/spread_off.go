//go:build !plant_spread

package planted

// Spread is off.
const Spread = false
