package machine

import (
	"slices"

	"godwit/cpu"
	"godwit/cpu/isa"
	"godwit/mem"
	"godwit/snapshot"
)

// What of a machine's memory is read first on resume is listed in its file, in
// sections that are no part of the machine.
const (
	secWorkingSet = "working-set"
	maxWorkingSet = 8192 // pages
	secNext       = "next-pages"
	maxNext       = 64 // pages, so that a file is read no further the more vCPUs there are
)

// workingSet lists the pages that the vCPUs have used lately.
func (m *Machine) workingSet() snapshot.Section {
	seen := make([]uint64, (m.mem.Pages()+63)/64)
	var pages []uint32
	for _, c := range m.cpus {
		c.Mapped(func(off uint64) {
			if p := uint32(off >> mem.PageShift); p < m.mem.Pages() && !bit(seen, p) && len(pages) < maxWorkingSet {
				seen[p>>6] |= 1 << (p & 63)
				pages = append(pages, p)
			}
		})
	}
	return snapshot.Section{Name: secWorkingSet, Version: 1, Data: must(encode(pages))}
}

// WorkingSet is what a file says was used lately; nothing where it says nothing.
func WorkingSet(f *snapshot.File) []uint32 { return pageList(f, secWorkingSet) }

func pageList(f *snapshot.File, name string) []uint32 {
	var pages []uint32
	if section(f.Small(), name, "", &pages) != nil {
		return nil
	}
	return pages
}

// nextPages lists the pages that the vCPUs need to execute an instruction or take an
// interrupt where they are: code, stack, descriptors, and the page tables to them.
func (m *Machine) nextPages() snapshot.Section {
	var pages []uint32
	add := func(pa uint64) {
		off, _, ok := m.mem.Lookup(pa)
		if p := uint32(off >> mem.PageShift); ok && len(pages) < maxNext && !slices.Contains(pages, p) {
			pages = append(pages, p)
		}
	}
	for i, c := range m.cpus {
		for _, la := range []uint64{
			c.Seg[isa.CS].Base + c.RIP, c.Seg[isa.SS].Base + c.R[cpu.RSP] - 8,
			c.IDTR.Base, c.GDTR.Base, c.TR.Base,
		} {
			w := m.Walk(i, la)
			for _, l := range w.Levels {
				add(l.Addr)
			}
			if w.OK {
				add(w.Phys)
			}
		}
	}
	slices.Sort(pages) // pages that were packed together are unpacked once
	return snapshot.Section{Name: secNext, Version: 1, Data: must(encode(pages))}
}

// pageRead is a page as a file has it.
type pageRead struct {
	page    uint32
	content [mem.PageSize]byte
}

// readAhead reads the next pages of a file while the machine is built. Those that
// cannot be read are left out: they will be named when they are needed.
func readAhead(f *snapshot.File) <-chan []pageRead {
	read := make(chan []pageRead, 1)
	pages := pageList(f, secNext)
	go func() {
		out := make([]pageRead, 0, maxNext)
		for _, p := range pages[:min(len(pages), maxNext)] {
			out = append(out, pageRead{page: p})
			if r := &out[len(out)-1]; f.ReadPage(p, &r.content) != nil {
				out = out[:len(out)-1]
			}
		}
		read <- out
	}()
	return read
}
