// Package core holds the plain values that every other package speaks in:
// identifiers, money, digests and error kinds. It imports nothing of Atoll and
// touches no network, disk or clock.
package core
