//go:build plant_resign

package planted

// Resign is planted.
const Resign = true
