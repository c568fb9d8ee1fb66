//go:build !plant_shortseed

package planted

// ShortSeed is off.
const ShortSeed = false
