package machine

import (
	"slices"

	"godwit/cpu"
	"godwit/cpu/isa"
	"godwit/mem"
	"godwit/snapshot"
)

const (
	secNext = "next-pages"
	maxNext = 64 // pages, so that a file is read no further the more vCPUs there are
)

// nextPages is a section with the pages that the vCPUs need to execute an instruction
// or take an interrupt where they are: code, stack, descriptors, and the page tables
// to them. It is no part of the machine.
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
	var pages []uint32
	if section(f.Small(), secNext, "", &pages) != nil {
		pages = nil
	}
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
