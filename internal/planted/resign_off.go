//go:build !plant_resign

package planted

// Resign is off.
const Resign = false
