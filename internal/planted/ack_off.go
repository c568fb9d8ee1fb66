//go:build !plant_ack

package planted

// Ack is off.
const Ack = false
