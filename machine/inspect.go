package machine

import (
	"fmt"
	"sort"

	"godwit/cpu"
	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/lapic"
	"godwit/devices/pci"
	"godwit/mem"
)

// What is here reads a machine between two instructions and changes nothing of
// it: no accessed bit, no register that clears on reading, no TLB entry.

// Level is one entry met on a page walk.
type Level struct {
	Name  string // PML5 PML4 PDPT PD PT
	Index uint64 // of the entry in its table
	Addr  uint64 // physical address of the entry
	Entry uint64
	Wide  bool // eight bytes, not four
}

// Walk is the way from a linear address to a physical one.
type Walk struct {
	Levels []Level
	OK     bool   // there is a translation
	Phys   uint64 // of the address itself
	Size   uint64 // bytes of the page; 0: paging is off
	Write  bool   // by the entries, all levels taken together
	User   bool
	NX     bool
	Fault  string // why there is none
}

// Page-table entry and control register bits [SDM 3A 2.5, 4.5].
const (
	entP    = 1 << 0
	entW    = 1 << 1
	entU    = 1 << 2
	entPS   = 1 << 7
	entNX   = 1 << 63
	addr    = 1<<cpu.PhysBits - 1<<12
	cr0PG   = 1 << 31
	cr4PSE  = 1 << 4
	cr4PAE  = 1 << 5
	cr4LA57 = 1 << 12
	eferLMA = 1 << 10
	eferNXE = 1 << 11
)

var levelNames = [...]string{1: "PT", 2: "PD", 3: "PDPT", 4: "PML4", 5: "PML5"}

// Walk follows vCPU i's page tables for a linear address. Preconditions: i is
// the number of a vCPU.
func (m *Machine) Walk(i int, la uint64) Walk {
	c := m.cpus[i]
	w := Walk{Write: true, User: true}
	switch {
	case c.CR0&cr0PG == 0:
		w.OK, w.Phys = true, la&0xffffffff
	case c.EFER&eferLMA != 0:
		n, bits := 4, uint(48)
		if c.CR4&cr4LA57 != 0 {
			n, bits = 5, 57
		}
		if int64(la<<(64-bits))>>(64-bits) != int64(la) {
			w.Fault = "the address is not canonical"
			return w
		}
		m.walkWide(&w, c, c.CR3&addr, n, la)
	case c.CR4&cr4PAE != 0:
		e := c.PDPT[la>>30&3]
		w.Levels = append(w.Levels, Level{"PDPT", la >> 30 & 3, c.CR3&^31 + la>>30&3*8, e, true})
		if e&entP == 0 {
			w.Fault = "PDPT entry is not present"
			return w
		}
		m.walkWide(&w, c, e&addr, 2, la&0xffffffff)
	default:
		m.walkNarrow(&w, c, la&0xffffffff)
	}
	return w
}

// walkWide follows eight-byte entries from a table of level n.
func (m *Machine) walkWide(w *Walk, c *cpu.CPU, table uint64, n int, la uint64) {
	for ; ; n-- {
		shift := uint(3 + 9*n)
		index := la >> shift & 511
		e := m.physWord(table+index*8, 8)
		w.Levels = append(w.Levels, Level{levelNames[n], index, table + index*8, e, true})
		w.Write, w.User = w.Write && e&entW != 0, w.User && e&entU != 0
		w.NX = w.NX || e&entNX != 0 && c.EFER&eferNXE != 0
		if e&entP == 0 {
			w.Fault = levelNames[n] + " entry is not present"
			return
		}
		if n == 1 || n <= 3 && e&entPS != 0 {
			w.Size, w.OK = 1<<shift, true
			w.Phys = e&addr&^(w.Size-1) | la&(w.Size-1)
			return
		}
		table = e & addr
	}
}

// walkNarrow follows four-byte entries [SDM 3A 4.3].
func (m *Machine) walkNarrow(w *Walk, c *cpu.CPU, la uint64) {
	table := c.CR3 & 0xfffff000
	for n := 2; ; n-- {
		shift := uint(2 + 10*n)
		index := la >> shift & 1023
		e := m.physWord(table+index*4, 4)
		w.Levels = append(w.Levels, Level{levelNames[n], index, table + index*4, e, false})
		w.Write, w.User = w.Write && e&entW != 0, w.User && e&entU != 0
		switch {
		case e&entP == 0:
			w.Fault = levelNames[n] + " entry is not present"
			return
		case n == 2 && e&entPS != 0 && c.CR4&cr4PSE != 0:
			w.OK, w.Size, w.Phys = true, 1<<22, e>>13&0xff<<32|e&0xffc00000|la&0x3fffff
			return
		case n == 1:
			w.OK, w.Size, w.Phys = true, 1<<12, e&0xfffff000|la&0xfff
			return
		}
		table = e & 0xfffff000
	}
}

// physWord reads memory; where there is none, all ones.
func (m *Machine) physWord(pa uint64, size int) uint64 {
	var b [8]byte
	m.ReadPhys(pa, b[:size])
	var v uint64
	for i := range size {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

// ReadPhys reads guest physical memory and tells how many of the bytes, from the
// first on, are memory; those beyond, and devices, read as 0xff.
func (m *Machine) ReadPhys(pa uint64, b []byte) int {
	n := len(b)
	for i := 0; i < len(b); {
		part := min(len(b)-i, mem.PageSize-int((pa+uint64(i))%mem.PageSize))
		if off, _, ok := m.mem.Lookup(pa + uint64(i)); ok {
			copy(b[i:i+part], m.mem.Bytes()[off:])
		} else {
			n = min(n, i)
			for k := range part {
				b[i+k] = 0xff
			}
		}
		i += part
	}
	return n
}

// ReadLinear is ReadPhys by the linear addresses of vCPU i, up to the first page
// without translation or memory.
func (m *Machine) ReadLinear(i int, la uint64, b []byte) int {
	for n := 0; n < len(b); {
		w := m.Walk(i, la+uint64(n))
		if !w.OK {
			return n
		}
		part := min(len(b)-n, mem.PageSize-int(w.Phys%mem.PageSize))
		if got := m.ReadPhys(w.Phys, b[n:n+part]); got < part {
			return n + got
		}
		n += part
	}
	return len(b)
}

// Range is one piece of the address space.
type Range struct {
	IO   bool // ports, not physical addresses
	Base uint64
	Size uint64
	What string // "ram", or the device's window
}

// Map lists who answers where, in order of address.
func (m *Machine) Map() []Range {
	var out []Range
	for _, r := range m.mem.Regions() {
		out = append(out, Range{Base: r.Base, Size: r.Size, What: r.Name})
	}
	for _, d := range m.devs {
		if h, ok := d.(*pci.Host); ok {
			w := h.Ports()
			out = append(out, Range{w.IO, w.Base, w.Size, h.ID() + " " + w.Name})
		}
		w, ok := d.(interface{ Windows() []bus.Window })
		if _, own := d.(*lapic.LAPIC); !ok || own {
			continue
		}
		for _, win := range w.Windows() {
			out = append(out, Range{win.IO, win.Base, win.Size, d.ID() + " " + win.Name})
		}
	}
	for _, p := range m.pci.Placed() {
		out = append(out, Range{p.IO, p.Base, p.Size, fmt.Sprintf("%s BAR%d", p.ID, p.BAR)})
	}
	for i, l := range m.lapics {
		if base, on := l.Base(); on {
			out = append(out, Range{Base: base, Size: 4096, What: m.lapics[i].ID() + " (own vcpu only)"})
		}
	}
	sort.SliceStable(out, func(i, k int) bool {
		if out[i].IO != out[k].IO {
			return !out[i].IO
		}
		return out[i].Base < out[k].Base
	})
	return out
}

// RegValue reads a device's register by its index in Regs. ok is false for one
// that cannot be read.
func (m *Machine) RegValue(d devices.Device, i int) (v uint64, ok bool) {
	r := d.Regs()[i]
	if r.Acc == devices.WO {
		return 0, false
	}
	if p, ok := d.(devices.Peeker); ok {
		return p.Peek(i), true
	}
	if r.Acc == devices.RC {
		return 0, false // reading it would change it
	}
	w, ok := d.(interface{ Windows() []bus.Window })
	if !ok {
		return 0, false
	}
	for _, win := range w.Windows() {
		if win.Name == r.Space && r.Off+uint64(r.Size) <= win.Size {
			return win.Read(r.Off, r.Size), true
		}
	}
	return 0, false
}

// IRQLine is one interrupt request of the PC.
type IRQLine struct {
	GSI     int
	Sources int    // that share it
	High    uint32 // which of them assert it
}

// IRQs lists the interrupt requests that something is connected to.
func (m *Machine) IRQs() []IRQLine {
	var out []IRQLine
	for n, s := range m.sinks {
		if s > 0 {
			out = append(out, IRQLine{n, int(s), m.st.Levels[n]})
		}
	}
	return out
}

// Deadline is an entry of the event queue.
type Deadline struct {
	At     devices.Nanos
	Device string
	Event  devices.EventID
}

// Deadlines lists what is due, soonest first.
func (m *Machine) Deadlines() []Deadline {
	var out []Deadline
	for _, d := range m.st.Queue {
		out = append(out, Deadline{devices.Nanos(d.At), m.devs[d.Dev].ID(), devices.EventID(d.Ev)})
	}
	return out
}
