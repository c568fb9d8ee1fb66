//go:build plant_shortseed

package planted

// ShortSeed is planted.
const ShortSeed = true
