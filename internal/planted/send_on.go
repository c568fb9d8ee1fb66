//go:build plant_send

package planted

// Send is planted.
const Send = true
