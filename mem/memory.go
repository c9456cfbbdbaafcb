// Package mem is the guest's memory: RAM and ROM by guest physical address, who
// must be told of writes (dirty bitmaps, epochs, translated code, page tables),
// the hashes of its pages, and the address spaces that devices answer in.
//
// All memory is one arena of 4 KiB pages, RAM first. Engines load and store in
// it directly by offset. The rule that makes tracking free on the hot path: a
// store to a page whose flags are zero needs nothing; any other store asks Touch
// (FlagClean) and the engine's own bookkeeping (FlagCode, FlagTable) first. A
// page may also be absent: promised, its hash known, its content still to come.
//
// One goroutine, the machine's, uses a Memory. The exceptions are an Epoch's
// Read, Base, Present, Here, Leaf, Sent and Done, which any goroutine may call;
// see epoch.go for why they never see a torn page.
package mem

import (
	"errors"
	"fmt"

	"godwit/internal/host"
)

// Sizes of a page.
const (
	PageShift = 12
	PageSize  = 1 << PageShift
)

// Bounds and places, in bytes.
const (
	MaxSize   = 64 << 30 // RAM and extra regions together
	LowTop    = 3 << 30  // RAM below 4 GiB ends here at the latest; above it is MMIO
	HighBase  = 4 << 30  // where the rest of RAM starts
	addrLimit = 1 << 52  // physical addresses end here [SDM 3A 4.1.4]
)

// Kind says what guest writes do to a region.
type Kind uint8

// Kinds of memory.
const (
	RAM Kind = iota
	ROM      // guest writes are dropped
)

// Region is a contiguous piece of guest physical memory.
type Region struct {
	Name string
	Base uint64 // guest physical address, a multiple of PageSize
	Size uint64 // bytes, a multiple of PageSize
	Kind Kind
	Off  uint64 // offset in the arena; filled in by New
}

// Page flags. A store to a page without flags needs no preparation.
const (
	FlagClean  uint8 = 1 << iota // a consumer or an epoch must be told of the next write: Touch
	FlagCode                     // engines translated code from this page
	FlagTable                    // live translations rest on entries in this page
	FlagAbsent                   // the content is not here yet: no access before Fill
)

// Memory is the memory of one machine.
type Memory struct {
	b       []byte  // the arena
	flags   []uint8 // as Flags gives them, but FlagClean is inverted: memory starts clean, and zeros take no memory of the host
	low     uint64  // bytes of RAM from address 0
	high    uint64  // bytes of RAM from HighBase
	pages   uint32
	regions []Region
	mapping host.Mapping

	gen       uint64
	hot       []uint64 // pages without FlagClean
	written   []uint64 // pages that were ever written
	consumers []*Consumer
	hasher    *Consumer
	leaves    [][16]byte
	hashDirty []uint64 // Leaves' scratch
	paranoid  bool
	broken    error // first finding of the paranoid mode

	claims [claimShards]claim
	epochs []*Epoch
	saved  []*Epoch // savePage's scratch
	spare  spares
	room   chan struct{}

	gone    []uint64 // absent pages; written by the machine goroutine under the page's claim
	vague   []uint64 // of them, those whose leaf is to be asked for; may be nil
	later   func(page uint32) ([16]byte, error)
	lost    error // first failure of later
	missing int
	refused Refusal
	grace   bool // budgets are not enforced, see SetGrace
	writer  Writer

	watcher Watcher
}

// New makes memory of ram bytes, from address 0 up to at most LowTop and the
// rest from HighBase, and of the extra regions. All of it reads as zero.
func New(ram uint64, extra ...Region) (*Memory, error) {
	return newMemory(host.System, ram, extra)
}

func newMemory(mapping host.Mapping, ram uint64, extra []Region) (*Memory, error) {
	regions, size, err := layOut(ram, extra)
	if err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	b, err := mapping.MapPages(size)
	if err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	low := min(ram, LowTop)
	m := &Memory{b: b, low: low, high: ram - low, regions: regions, mapping: mapping}
	m.pages = uint32(size >> PageShift)
	words := (int(m.pages) + 63) / 64
	m.hot, m.written, m.gone = make([]uint64, words), make([]uint64, words), make([]uint64, words)
	m.flags = make([]uint8, 64*words) // padded: Harvest arms whole words
	m.hasher = m.consumer("page hashes")
	m.room = make(chan struct{}, 1)
	return m, nil
}

// layOut puts the regions one after the other into an arena.
func layOut(ram uint64, extra []Region) ([]Region, uint64, error) {
	low := min(ram, LowTop)
	all := []Region{{Name: "ram", Base: 0, Size: low}}
	if ram > low {
		all = append(all, Region{Name: "ram above 4 GiB", Base: HighBase, Size: ram - low})
	}
	all = append(all, extra...)
	var size uint64
	for i := range all {
		r := &all[i]
		if err := r.check(); err != nil {
			return nil, 0, err
		}
		for _, o := range all[:i] {
			if r.Base < o.Base+o.Size && o.Base < r.Base+r.Size {
				return nil, 0, fmt.Errorf("region %q at %#x+%#x overlaps %q at %#x+%#x",
					r.Name, r.Base, r.Size, o.Name, o.Base, o.Size)
			}
		}
		r.Off = size
		if size += r.Size; size > MaxSize {
			return nil, 0, fmt.Errorf("size is %d bytes or more, at most %d", size, uint64(MaxSize))
		}
	}
	return all, size, nil
}

func (r *Region) check() error {
	switch {
	case r.Size == 0 || r.Size%PageSize != 0 || r.Size > MaxSize:
		return fmt.Errorf("region %q has %d bytes, must be a multiple of %d from %d to %d",
			r.Name, r.Size, PageSize, PageSize, uint64(MaxSize))
	case r.Base%PageSize != 0 || r.Base > addrLimit-r.Size:
		return fmt.Errorf("region %q is at %#x, must be a multiple of %d below %#x",
			r.Name, r.Base, PageSize, uint64(addrLimit)-r.Size)
	case r.Kind > ROM:
		return fmt.Errorf("region %q has kind %d, at most %d", r.Name, r.Kind, ROM)
	}
	return nil
}

// Close gives the memory back to the host. Nothing of it may be used afterwards.
// With an epoch open it does nothing but fail: a reader could still be at work.
func (m *Memory) Close() error {
	if n := len(m.epochs); n != 0 {
		return fmt.Errorf("memory: close: %d epochs are open", n)
	}
	if m.b == nil {
		return errors.New("memory: close: already closed")
	}
	b := m.b
	m.b = nil
	return m.mapping.UnmapPages(b)
}

// Bytes is the arena. Before a store look at the page's flags.
func (m *Memory) Bytes() []byte { return m.b }

// Pages is the number of arena pages; those of RAM come first.
func (m *Memory) Pages() uint32 { return m.pages }

// RAMSize is the size of RAM in bytes.
func (m *Memory) RAMSize() uint64 { return m.low + m.high }

// Regions lists all memory in arena order. The caller does not change it.
func (m *Memory) Regions() []Region { return m.regions }

// Lookup finds the arena offset of a guest physical address. ok is false where
// there is no memory. (Written so that the compiler inlines it: a direct
// "return m.lookupAbove(pa)" is over its budget.)
func (m *Memory) Lookup(pa uint64) (off uint64, kind Kind, ok bool) {
	if pa < m.low {
		return pa, RAM, true
	}
	off, kind, ok = m.lookupAbove(pa)
	return
}

// lookupAbove is kept apart so that Lookup can be inlined.
//
//go:noinline
func (m *Memory) lookupAbove(pa uint64) (off uint64, kind Kind, ok bool) {
	if d := pa - HighBase; d < m.high {
		return m.low + d, RAM, true
	}
	first := 1
	if m.high != 0 {
		first = 2
	}
	for i := first; i < len(m.regions); i++ {
		r := &m.regions[i]
		if d := pa - r.Base; d < r.Size {
			return r.Off + d, r.Kind, true
		}
	}
	return 0, RAM, false
}

// PageAddr is the guest physical address of an arena page.
// Preconditions: page < Pages().
func (m *Memory) PageAddr(page uint32) uint64 {
	off := uint64(page) << PageShift
	for i := range m.regions {
		r := &m.regions[i]
		if d := off - r.Off; d < r.Size {
			return r.Base + d
		}
	}
	panic(fmt.Sprintf("godwit bug: memory: page %d of %d", page, m.pages))
}

// page is the content of an arena page.
func (m *Memory) page(page uint32) *[PageSize]byte {
	off := uint64(page) << PageShift
	return (*[PageSize]byte)(m.b[off : off+PageSize])
}
