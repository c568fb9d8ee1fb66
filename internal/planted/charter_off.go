//go:build !plant_charter

package planted

// Charter is off.
const Charter = false
