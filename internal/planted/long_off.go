//go:build !plant_long

package planted

// Long is off.
const Long = false
