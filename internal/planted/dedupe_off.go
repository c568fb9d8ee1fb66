//go:build !plant_dedupe

package planted

// Dedupe is off.
const Dedupe = false
