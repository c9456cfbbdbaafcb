package cpu

import (
	"godwit/cpu/isa"
	"godwit/mem"
)

// Kinds of access.
const (
	accRead = iota
	accWrite
	accExec
)

// Page-table entry bits [SDM 3A 4.5].
const (
	pteP  = 1 << 0
	pteW  = 1 << 1
	pteU  = 1 << 2
	pteA  = 1 << 5
	pteD  = 1 << 6
	ptePS = 1 << 7
	pteNX = 1 << 63

	PhysBits = 40 // MAXPHYADDR of every model
	physBits = PhysBits
	physMask = 1<<physBits - 1
)

// Page-fault error code bits [SDM 3A 4.7].
const (
	pfP    = 1 << 0
	pfW    = 1 << 1
	pfU    = 1 << 2
	pfRsvd = 1 << 3
	pfI    = 1 << 4
	pfPK   = 1 << 5
)

// pteRef is one entry met on a walk.
type pteRef struct {
	pa, v uint64
	wide  bool // eight bytes, not four
}

// walkState collects a walk: entries from the root down and the rights so far.
type walkState struct {
	ref    [5]pteRef
	n      int
	rw, us bool
	nx     bool
	key    uint8 // protection key of the leaf
}

func (w *walkState) add(r pteRef) {
	w.ref[w.n] = r
	w.n++
	w.rw = w.rw && r.v&pteW != 0
	w.us = w.us && r.v&pteU != 0
	if r.wide {
		w.nx = w.nx || r.v&pteNX != 0
	}
}

// pf raises a page fault for linear address la.
func (c *CPU) pf(la uint64, acc, mmu int, bits uint32) bool {
	if acc == accWrite {
		bits |= pfW
	}
	if mmu == mmuUser {
		bits |= pfU
	}
	if acc == accExec && (c.CR4&cr4SMEP != 0 || (c.EFER&eferNXE != 0 && c.CR4&cr4PAE != 0)) {
		bits |= pfI
	}
	c.fault = Fault{Vec: vecPF, HasErr: true, Err: bits, Addr: la}
	return false
}

// walk translates la for one access, sets A and D, and remembers the entries
// used. On failure the fault is pending, or stepReq set.
func (c *CPU) walk(la uint64, acc, mmu int) (pa uint64, ok bool) {
	c.stats.Walks++
	if c.CR0&cr0PG == 0 {
		pa = la & 0xffffffff
		return pa, c.here(pa)
	}
	w := walkState{rw: true, us: true}
	switch {
	case c.longMode():
		pa, ok = c.walkLong(&w, la, acc, mmu)
	case c.CR4&cr4PAE != 0:
		pa, ok = c.walkPAE(&w, la, acc, mmu)
	default:
		pa, ok = c.walk32(&w, la, acc, mmu)
	}
	if !ok || !c.rights(&w, la, acc, mmu) || !c.here(pa) || !c.setAD(&w, acc) {
		return 0, false
	}
	for i := 0; i < w.n; i++ {
		c.shared.markUsed(w.ref[i].pa)
	}
	return pa, true
}

func (c *CPU) walkLong(w *walkState, la uint64, acc, mmu int) (uint64, bool) {
	level := 4
	if c.CR4&cr4LA57 != 0 {
		level = 5
	}
	return c.walkDown(w, c.CR3&physMask&^0xfff, level, la, acc, mmu)
}

func (c *CPU) walkPAE(w *walkState, la uint64, acc, mmu int) (uint64, bool) {
	pdpte := c.PDPT[la>>30&3]
	if pdpte&pteP == 0 {
		return 0, c.pf(la, acc, mmu, 0)
	}
	return c.walkDown(w, pdpte&physMask&^0xfff, 2, la, acc, mmu)
}

// walkDown follows eight-byte entries from a table of the given level.
func (c *CPU) walkDown(w *walkState, table uint64, level int, la uint64, acc, mmu int) (uint64, bool) {
	for ; ; level-- {
		shift := uint(12 + 9*(level-1))
		r := pteRef{pa: table + la>>shift&511*8, wide: true}
		if !c.here(r.pa) {
			return 0, false
		}
		r.v = c.physRead64(r.pa)
		if r.v&pteP == 0 {
			return 0, c.pf(la, acc, mmu, 0)
		}
		leaf := level == 1 || (r.v&ptePS != 0 && level <= 3)
		if c.reserved(r.v, level, leaf) {
			return 0, c.pf(la, acc, mmu, pfP|pfRsvd)
		}
		w.add(r)
		if leaf {
			size := uint64(1) << shift
			w.key = uint8(r.v>>59) & 15
			return r.v&physMask&^(size-1)&^0xfff | la&(size-1), true
		}
		table = r.v & physMask &^ 0xfff
	}
}

// reserved tells whether an eight-byte entry has a reserved bit set
// [SDM 3A 4.4.2, 4.5.4].
func (c *CPU) reserved(v uint64, level int, leaf bool) bool {
	high := uint64(0x000f_ffff_ffff_ffff) &^ physMask
	if !c.longMode() {
		high = 0x7fff_ffff_ffff_ffff &^ physMask
	}
	if c.EFER&eferNXE == 0 {
		high |= pteNX
	}
	switch {
	case leaf && level == 2:
		high |= 0x1fe000
	case leaf && level == 3:
		high |= 0x3fffe000
	case level >= 4:
		high |= ptePS
	case level == 3 && c.model.no1G:
		high |= ptePS
	}
	return v&high != 0
}

// walk32 follows four-byte entries [SDM 3A 4.3].
func (c *CPU) walk32(w *walkState, la uint64, acc, mmu int) (uint64, bool) {
	r := pteRef{pa: c.CR3&0xfffff000 + la>>22&1023*4}
	if !c.here(r.pa) {
		return 0, false
	}
	r.v = uint64(c.physRead32(r.pa))
	if r.v&pteP == 0 {
		return 0, c.pf(la, acc, mmu, 0)
	}
	if r.v&ptePS != 0 && c.CR4&cr4PSE != 0 {
		if r.v>>21&1 != 0 || r.v>>13&0xff>>(physBits-32) != 0 {
			return 0, c.pf(la, acc, mmu, pfP|pfRsvd)
		}
		w.add(r)
		return r.v>>13&0xff<<32 | r.v&0xffc00000 | la&0x3fffff, true
	}
	w.add(r)
	r = pteRef{pa: r.v&0xfffff000 + la>>12&1023*4}
	if !c.here(r.pa) {
		return 0, false
	}
	r.v = uint64(c.physRead32(r.pa))
	if r.v&pteP == 0 {
		return 0, c.pf(la, acc, mmu, 0)
	}
	w.add(r)
	return r.v&0xfffff000 | la&0xfff, true
}

// rights checks the access against the rights of all levels [SDM 3A 4.6].
func (c *CPU) rights(w *walkState, la uint64, acc, mmu int) bool {
	ok := true
	if mmu == mmuUser {
		ok = w.us && (acc != accWrite || w.rw) && (acc != accExec || !w.nx)
	} else {
		switch acc {
		case accExec:
			ok = !w.nx && (!w.us || c.CR4&cr4SMEP == 0)
		case accWrite:
			ok = (w.rw || c.CR0&cr0WP == 0) && (!w.us || mmu == mmuKernelAC)
		default:
			ok = !w.us || mmu == mmuKernelAC
		}
	}
	if !c.keyAllows(w, acc, mmu) {
		return c.pf(la, acc, mmu, pfP|pfPK) // also where the other rights refuse
	}
	return ok || c.pf(la, acc, mmu, pfP)
}

// keyAllows checks a page's protection key against the rights for user or for
// supervisor pages [SDM 3A 4.6.2].
func (c *CPU) keyAllows(w *walkState, acc, mmu int) bool {
	var rights uint32
	switch {
	case acc == accExec || !c.longMode():
	case w.us && c.CR4&cr4PKE != 0:
		rights = c.PKRU
	case !w.us && c.CR4&cr4PKS != 0:
		rights = uint32(c.MSRs.PKRS)
	}
	k := rights >> (2 * w.key)
	return k&1 == 0 && (k&2 == 0 || acc != accWrite || mmu != mmuUser && c.CR0&cr0WP == 0)
}

// setAD sets accessed bits, and the leaf's dirty bit on a write. In a block it
// leaves that to the reference, which can take it back: see attempt.
func (c *CPU) setAD(w *walkState, acc int) bool {
	for i := 0; i < w.n; i++ {
		r := &w.ref[i]
		v := r.v | pteA
		if i == w.n-1 && acc == accWrite {
			v |= pteD
		}
		if v != r.v {
			if c.inBlock {
				c.stepReq = true
				return false
			}
			if !c.physWritePTE(r, v) {
				return false
			}
			r.v = v
		}
	}
	return true
}

// canonical tells whether la is sign-extended from the width that paging uses.
func (c *CPU) canonical(la uint64) bool {
	if c.CR4&cr4LA57 != 0 {
		return uint64(int64(la<<7)>>7) == la
	}
	return uint64(int64(la<<16)>>16) == la
}

// canonicalBase is canonical for addresses that registers keep: MSRs, segment
// bases, GDTR, IDTR, operands of INVPCID. A processor that could use 5-level
// paging takes its wider ones whether it does or not.
func (c *CPU) canonicalBase(la uint64) bool {
	w := 64 - c.model.vaBits()
	return uint64(int64(la<<w)>>w) == la
}

// here tells whether the page at pa can be accessed: it is not absent. If it is,
// the instruction must be executed again when it has arrived.
func (c *CPU) here(pa uint64) bool {
	if c.mem.Missing() == 0 || pa&^0xfff == c.apicBase {
		return true
	}
	off, _, ok := c.mem.Lookup(pa)
	return !ok || c.stall(c.mem.CanRead(uint32(off>>mem.PageShift)))
}

// stall notes a refused access: ok is what memory said.
func (c *CPU) stall(ok bool) bool {
	if !ok {
		c.stalled, c.stepReq = true, true
	}
	return ok
}

// physRead64 reads page-table memory that is here; where there is none, all ones.
func (c *CPU) physRead64(pa uint64) uint64 {
	if off, _, ok := c.mem.Lookup(pa); ok {
		return mem.Load64(c.ram, off)
	}
	return ^uint64(0)
}

func (c *CPU) physRead32(pa uint64) uint32 {
	if off, _, ok := c.mem.Lookup(pa); ok {
		return mem.Load32(c.ram, off)
	}
	return ^uint32(0)
}

// physWritePTE stores an entry's new A and D bits. This changes no translation
// that a TLB may hold: an entry exists only with A set, and for writes D.
func (c *CPU) physWritePTE(r *pteRef, v uint64) bool {
	off, kind, ok := c.mem.Lookup(r.pa)
	if !ok || kind != mem.RAM {
		return true
	}
	if !c.touch(uint32(off >> mem.PageShift)) {
		return false
	}
	if c.shared.codeAt(off, 8) {
		c.shared.dropCode(off, 8)
	}
	size := 4
	if r.wide {
		size = 8
	}
	c.undoTables = true
	c.storeN(off, size, v)
	return true
}

// touch announces a write to an arena page. False: memory refuses it now, and the
// instruction must be executed again later.
func (c *CPU) touch(page uint32) bool {
	if c.mem.Flags(page)&mem.FlagClean == 0 {
		return true
	}
	rip := c.R[isa.RegRIP] // in a block, that of its first instruction
	if c.trying {
		rip = c.RIP
	}
	c.mem.SetWriter(mem.Writer{RIP: rip, CPL: c.CPL, VCPU: int16(c.id)})
	return c.stall(c.mem.Touch(page))
}

// place is where a linear address leads: an arena offset, or a device.
type place struct {
	pa, off uint64
	ram     bool // off is valid
	rom     bool // writes are dropped
}

// translate finds la's place for an access that does not cross its page.
func (c *CPU) translate(la uint64, acc, mmu int) (p place, ok bool) {
	if e := c.tlb[mmu].slot(la); acc == accWrite && e.w == la&^0xfff^held && c.canonical(la) {
		return place{off: e.add + la&0xfff, ram: true}, true
	}
	if c.inBlock && !c.canonical(la) {
		c.stepReq = true // ops leave the check to here: a walk ignores the upper bits
		return p, false
	}
	p.pa, ok = c.walk(la, acc, mmu)
	if !ok {
		return p, false
	}
	off, kind, found := c.mem.Lookup(p.pa)
	if p.pa&^0xfff == c.apicBase {
		found = false
	}
	p.off, p.ram, p.rom = off, found, found && kind == mem.ROM
	if found {
		c.fill(la, off, acc, mmu, p.rom)
	}
	return p, true
}

// fill enters a translation into the TLB. Writes get their tag only later, when
// the page needs no more attention: see tagWrite.
func (c *CPU) fill(la, off uint64, acc, mmu int, rom bool) {
	if acc == accWrite {
		return
	}
	e := c.tlb[mmu].claim(la)
	e.add = off &^ 0xfff
	if acc == accExec {
		e.x = la &^ 0xfff
	} else {
		e.r = la &^ 0xfff
	}
	c.stats.TLBFills++
}

// tagWrite lets further writes to la's page take the fast path, if the page is
// dirty for everybody and holds neither code nor live table entries.
func (c *CPU) tagWrite(la, off uint64, mmu int) {
	page := uint32(off >> mem.PageShift)
	if c.mem.Flags(page) != 0 {
		return
	}
	e := c.tlb[mmu].claim(la)
	e.add = off &^ 0xfff
	e.w = la &^ 0xfff
	c.shared.wtag[page] = 1
	c.stats.TLBFills++
}
