//go:build plant_stale

package planted

// Stale is planted.
const Stale = true
