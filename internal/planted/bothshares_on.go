//go:build plant_bothshares

package planted

// BothShares is planted.
const BothShares = true
