//go:build plant_account

package planted

// Account is planted.
const Account = true
