//go:build plant_charter

package planted

// Charter is planted.
const Charter = true
