//go:build !plant_overspend

package planted

// Overspend is off.
const Overspend = false
