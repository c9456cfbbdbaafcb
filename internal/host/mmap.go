// Package host holds what differs between host operating systems.
//
// MapPages gives a large block of zeroed memory outside the Go heap: guest RAM.
// Pages of it that are never touched cost the host nothing, and the collector
// neither scans nor counts it.
//
// Why the unsafe and syscall use is sound: the block is made by one system call
// and stays at one address with one size until UnmapPages, so a slice over it is
// an ordinary slice. The collector ignores addresses outside its heap, and the
// block holds bytes only, never Go pointers. What the language does not check is
// use after UnmapPages: the one caller (mem.Memory.Close) drops its slice first
// and refuses while readers may exist.
//
// The race detector watches the Go heap only. Tests that look for races use
// HeapPages.
package host

import "fmt"

// maxMap bounds one mapping, in bytes: far above what mem asks for, and small
// enough for sums with it not to overflow.
const maxMap = 1 << 40

// Mapping is a way to get and give back zeroed, page-aligned memory.
type Mapping struct {
	Name  string
	Map   func(size int) ([]byte, error)
	Unmap func([]byte) error
}

// System is this host's best mapping: the one MapPages uses.
var System = Mapping{Name: systemName, Map: mapSystem, Unmap: unmapSystem}

// Heap is the portable mapping: a Go slice.
var Heap = Mapping{Name: "heap", Map: mapHeap, Unmap: unmapHeap}

// MapPages gives size bytes of zeroed memory. size is a multiple of 4096.
func (m Mapping) MapPages(size uint64) ([]byte, error) {
	if size == 0 || size%4096 != 0 || size > maxMap {
		return nil, fmt.Errorf("map %d bytes: size must be a multiple of 4096 from 4096 to %d", size, uint64(maxMap))
	}
	if uint64(int(size)) != size || int(size) < 0 {
		return nil, fmt.Errorf("map %d bytes: this host's address space is too small", size)
	}
	b, err := m.Map(int(size))
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of guest memory: %w", size, err)
	}
	return b, nil
}

// UnmapPages gives back what MapPages gave, whole. b and slices of it must not
// be used any more.
func (m Mapping) UnmapPages(b []byte) error {
	if err := m.Unmap(b); err != nil {
		return fmt.Errorf("unmap %d bytes of guest memory: %w", len(b), err)
	}
	return nil
}
