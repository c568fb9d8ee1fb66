//go:build plant_accuse

package planted

// Accuse is planted.
const Accuse = true
