//go:build plant_draw

package planted

// Draw is planted.
const Draw = true
