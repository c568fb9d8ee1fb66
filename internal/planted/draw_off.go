//go:build !plant_draw

package planted

// Draw is off.
const Draw = false
