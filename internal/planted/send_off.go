//go:build !plant_send

package planted

// Send is off.
const Send = false
