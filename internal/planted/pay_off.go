//go:build !plant_pay

package planted

// Pay is off.
const Pay = false
