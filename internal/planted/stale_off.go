//go:build !plant_stale

package planted

// Stale is off.
const Stale = false
