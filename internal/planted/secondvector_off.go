//go:build !plant_secondvector

package planted

// SecondVector is off.
const SecondVector = false
