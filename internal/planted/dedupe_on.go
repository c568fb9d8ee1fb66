//go:build plant_dedupe

package planted

// Dedupe is planted.
const Dedupe = true
