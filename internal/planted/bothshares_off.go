//go:build !plant_bothshares

package planted

// BothShares is off.
const BothShares = false
