//go:build plant_secondvector

package planted

// SecondVector is planted.
const SecondVector = true
