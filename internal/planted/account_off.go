//go:build !plant_account

package planted

// Account is off.
const Account = false
