//go:build plant_ack

package planted

// Ack is planted.
const Ack = true
