//go:build plant_spread

package planted

// Spread is planted.
const Spread = true
