package host

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

const systemName = "VirtualAlloc"

// mapSystem reserves and commits: commit charge is taken at once, pages only
// when they are touched.
func mapSystem(size int) ([]byte, error) {
	addr, err := windows.VirtualAlloc(0, uintptr(size), windows.MEM_RESERVE|windows.MEM_COMMIT, windows.PAGE_READWRITE)
	if err != nil {
		return nil, err
	}
	// The address is not in the Go heap, so turning it into a pointer hides
	// nothing from the collector; the detour tells vet so.
	p := *(*unsafe.Pointer)(unsafe.Pointer(&addr))
	return unsafe.Slice((*byte)(p), size), nil
}

func unmapSystem(b []byte) error {
	return windows.VirtualFree(uintptr(unsafe.Pointer(unsafe.SliceData(b))), 0, windows.MEM_RELEASE)
}
