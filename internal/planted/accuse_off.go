//go:build !plant_accuse

package planted

// Accuse is off.
const Accuse = false
