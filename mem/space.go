package mem

import (
	"fmt"
	"math"
	"slices"
)

// Space maps addresses to the handlers that answer there: I/O ports, or the
// memory-mapped registers of devices. Only the machine goroutine uses it.
type Space struct {
	windows []window // in the order they were mapped
	view    []seg    // what is seen: sorted, disjoint
	last    int      // index in view of the last hit; a pure cache
}

// window is [base, last], both inclusive so that it can end at 2^64-1.
type window struct {
	base, last uint64
	h          Handler
	overlay    bool
}

// seg is the visible part [base, last] of a window that starts at start.
type seg struct {
	base, last, start uint64
	h                 Handler
}

// Map lets h answer for size bytes from base. It fails if a window mapped with
// Map is there already.
func (s *Space) Map(base, size uint64, h Handler) error {
	return s.add(base, size, h, false)
}

// Overlay is Map for windows that may cover others: the overlay mapped last is
// the one that is seen, above all windows mapped with Map. The order is the
// caller's to reproduce when a machine is restored.
func (s *Space) Overlay(base, size uint64, h Handler) error {
	return s.add(base, size, h, true)
}

func (s *Space) add(base, size uint64, h Handler, overlay bool) error {
	if size == 0 || size-1 > math.MaxUint64-base {
		return fmt.Errorf("map %#x bytes at %#x: size must be from 1 to the end of the address space", size, base)
	}
	if h == nil {
		return fmt.Errorf("map %#x bytes at %#x: no handler", size, base)
	}
	w := window{base, base + size - 1, h, overlay}
	for _, o := range s.windows {
		if !overlay && !o.overlay && w.base <= o.last && o.base <= w.last {
			return fmt.Errorf("map %#x bytes at %#x: overlaps the window at %#x to %#x", size, base, o.base, o.last)
		}
	}
	s.windows = append(s.windows, w)
	s.rebuild()
	return nil
}

// Unmap removes the window of exactly this place and size; of several the one
// mapped last. It tells whether there was one.
func (s *Space) Unmap(base, size uint64) bool {
	for i := len(s.windows) - 1; i >= 0; i-- {
		if w := &s.windows[i]; w.base == base && w.last-w.base == size-1 {
			s.windows = slices.Delete(s.windows, i, i+1)
			s.rebuild()
			return true
		}
	}
	return false
}

// rebuild paints the windows over each other, lowest first.
func (s *Space) rebuild() {
	s.view = nil
	for _, overlay := range []bool{false, true} {
		for _, w := range s.windows {
			if w.overlay == overlay {
				s.view = paint(s.view, w)
			}
		}
	}
	slices.SortFunc(s.view, func(a, b seg) int {
		if a.base < b.base {
			return -1
		}
		return 1 // disjoint, so never equal
	})
}

// paint puts w above all of view.
func paint(view []seg, w window) []seg {
	out := make([]seg, 0, len(view)+2)
	for _, g := range view {
		if g.last < w.base || w.last < g.base {
			out = append(out, g)
			continue
		}
		if g.base < w.base {
			out = append(out, seg{g.base, w.base - 1, g.start, g.h})
		}
		if w.last < g.last {
			out = append(out, seg{w.last + 1, g.last, g.start, g.h})
		}
	}
	return append(out, seg{w.base, w.last, w.base, w.h})
}

// find gives the index in view of the window seen at addr, or -1.
func (s *Space) find(addr uint64) int {
	if s.last < len(s.view) {
		if g := &s.view[s.last]; addr-g.base <= g.last-g.base {
			return s.last
		}
	}
	lo, hi := 0, len(s.view)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if s.view[mid].last < addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(s.view) || addr < s.view[lo].base {
		return -1
	}
	s.last = lo
	return lo
}

// Find gives the handler seen at addr, and addr's offset in its window.
func (s *Space) Find(addr uint64) (h Handler, off uint64, ok bool) {
	i := s.find(addr)
	if i < 0 {
		return nil, 0, false
	}
	g := &s.view[i]
	return g.h, addr - g.start, true
}

// whole gives the handler if it answers for all of an access of 1, 2, 4 or 8
// bytes, else nil.
func (s *Space) whole(addr uint64, size int) (h Handler, off uint64) {
	i := s.find(addr)
	if i < 0 || size&(size-1) != 0 {
		return nil, 0
	}
	g := &s.view[i]
	if uint64(size-1) > g.last-addr {
		return nil, 0
	}
	return g.h, addr - g.start
}

// Read reads size bytes, 1 to 8. Where nobody answers the bytes are 0xff. An
// access that does not lie in one window is split into bytes.
func (s *Space) Read(addr uint64, size int) uint64 {
	if h, off := s.whole(addr, size); h != nil {
		return h.Read(off, size) & (math.MaxUint64 >> (64 - 8*uint(size)))
	}
	var v uint64
	for i := range size {
		b := uint64(0xff)
		if h, off := s.whole(addr+uint64(i), 1); h != nil {
			b = h.Read(off, 1) & 0xff
		}
		v |= b << (8 * i)
	}
	return v
}

// Write writes size bytes, 1 to 8; what falls where nobody answers is dropped.
// An access that does not lie in one window is split into bytes, lowest first.
func (s *Space) Write(addr uint64, size int, v uint64) {
	if h, off := s.whole(addr, size); h != nil {
		h.Write(off, size, v&(math.MaxUint64>>(64-8*uint(size))))
		return
	}
	for i := range size {
		if h, off := s.whole(addr+uint64(i), 1); h != nil {
			h.Write(off, 1, v>>(8*i)&0xff)
		}
	}
}
