//go:build !linux

package repro

func largeSlice[T any](n int) []T { return make([]T, n) }
