//go:build !linux

package bench

// Elsewhere the kernel is not asked; the hub's own metrics say what they can.

func cpuModel() string         { return "" }
func ownCPU() *float64         { return nil }
func familyCPU(_ int) *float64 { return nil }
