//go:build plant_overspend

package planted

// Overspend is planted.
const Overspend = true
