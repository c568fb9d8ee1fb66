//go:build !plant_suspect

package planted

// Suspect is off.
const Suspect = false
