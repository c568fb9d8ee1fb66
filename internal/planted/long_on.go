//go:build plant_long

package planted

// Long is planted.
const Long = true
