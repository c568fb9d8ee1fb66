//go:build !linux

package sandbox

func maybeHelper() {}
