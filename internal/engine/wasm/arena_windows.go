package wasm

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// reserve takes address space; use makes it memory, so that a child's share of
// the page file is what its parts asked for.
func reserve(size int64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	p, err := windows.VirtualAlloc(0, uintptr(size), windows.MEM_RESERVE, windows.PAGE_NOACCESS)
	if err != nil {
		return nil, err
	}
	// The address is not one of Go's heap; through a pointer to it, so that
	// vet does not take it for arithmetic.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&p)), size), nil
}

func use(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := windows.VirtualAlloc(uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), windows.MEM_COMMIT, windows.PAGE_READWRITE)
	return err
}
