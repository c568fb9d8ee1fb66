package wasm

import "golang.org/x/sys/unix"

// discard gives the pages back; what is read there later is zero.
func discard(b []byte) {
	if err := unix.Madvise(b, unix.MADV_DONTNEED); err != nil {
		clear(b)
	}
}
