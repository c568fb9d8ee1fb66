//go:build plant_pay

package planted

// Pay is planted.
const Pay = true
