//go:build plant_suspect

package planted

// Suspect is planted.
const Suspect = true
