package measure

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// memoryStatus is MEMORYSTATUSEX.
type memoryStatus struct {
	length, load            uint32
	totalPhys, availPhys    uint64
	totalPage, availPage    uint64
	totalVirtual, availVirt uint64
	availExtendedVirtual    uint64
}

func totalMemory() int64 {
	var s memoryStatus
	s.length = uint32(unsafe.Sizeof(s))
	proc := windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")
	if proc.Find() != nil {
		return 0
	}
	if ok, _, _ := proc.Call(uintptr(unsafe.Pointer(&s))); ok == 0 {
		return 0
	}
	return int64(s.totalPhys)
}
