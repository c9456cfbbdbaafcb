package cpu

import (
	"godwit/cpu/isa"
	"godwit/mem"
)

// loadN reads size bytes (1, 2, 4, 8) at an arena offset.
func (c *CPU) loadN(off uint64, size int) uint64 {
	switch size {
	case 1:
		return uint64(c.ram[off])
	case 2:
		return uint64(mem.Load16(c.ram, off))
	case 4:
		return uint64(mem.Load32(c.ram, off))
	}
	return mem.Load64(c.ram, off)
}

func (c *CPU) storeN(off uint64, size int, v uint64) {
	if c.trying {
		c.note(off, size)
	}
	switch size {
	case 1:
		c.ram[off] = byte(v)
	case 2:
		mem.Store16(c.ram, off, uint16(v))
	case 4:
		mem.Store32(c.ram, off, uint32(v))
	default:
		mem.Store64(c.ram, off, v)
	}
}

// readLin reads size bytes (1, 2, 4, 8) at a linear address with the rights of
// TLB mmu. False: a fault is pending, or stepReq is set.
func (c *CPU) readLin(la uint64, size, mmu int) (uint64, bool) {
	e := c.tlb[mmu].slot(la)
	if d := la - e.r; d <= uint64(4096-size) {
		return c.loadN(e.add+d, size), true
	}
	return c.readSlow(la, size, mmu)
}

func (c *CPU) readSlow(la uint64, size, mmu int) (uint64, bool) {
	if la&0xfff+uint64(size) > 4096 {
		return c.readCross(la, size, mmu)
	}
	p, ok := c.translate(la, accRead, mmu)
	if !ok {
		return 0, false
	}
	return c.readPlace(p, size)
}

func (c *CPU) readPlace(p place, size int) (uint64, bool) {
	if p.ram {
		return c.loadN(p.off, size), true
	}
	if c.inBlock {
		c.stepReq = true
		return 0, false
	}
	c.event = true
	return c.bus.ReadMMIO(p.pa, size), true
}

// secondPage is the linear address of the page after la's, wrapped as the mode
// wraps linear addresses.
func (c *CPU) secondPage(la uint64) uint64 {
	la = la&^0xfff + 4096
	if c.mode != isa.Mode64 {
		la &= 0xffffffff
	}
	return la
}

func (c *CPU) readCross(la uint64, size, mmu int) (uint64, bool) {
	if c.inBlock {
		c.stepReq = true // may touch a device in either half
		if v, ok := c.crossRAM(la, size, mmu); ok {
			c.stepReq = false
			return v, true
		}
		return 0, false
	}
	p0, ok := c.translate(la, accRead, mmu)
	if !ok {
		return 0, false
	}
	p1, ok := c.translate(c.secondPage(la), accRead, mmu)
	if !ok {
		return 0, false
	}
	var v uint64
	n0 := 4096 - int(la&0xfff)
	for i := 0; i < size; i++ {
		p, k := p0, i
		if i >= n0 {
			p, k = p1, i-n0
		}
		p.pa += uint64(k)
		p.off += uint64(k)
		b, _ := c.readPlace(p, 1)
		v |= b & 0xff << (8 * i)
	}
	return v, true
}

// crossRAM reads across two pages that the TLB knows as memory.
func (c *CPU) crossRAM(la uint64, size, mmu int) (uint64, bool) {
	n0 := 4096 - int(la&0xfff)
	var v uint64
	la1 := c.secondPage(la)
	for i := 0; i < size; i++ {
		a := la + uint64(i)
		if i >= n0 {
			a = la1 + uint64(i-n0)
		}
		e := c.tlb[mmu].slot(a)
		d := a - e.r
		if d > 4095 {
			return 0, false
		}
		v |= uint64(c.ram[e.add+d]) << (8 * i)
	}
	return v, true
}

// writeLin writes size bytes (1, 2, 4, 8) at a linear address.
func (c *CPU) writeLin(la uint64, size int, v uint64, mmu int) bool {
	e := c.tlb[mmu].slot(la)
	if d := la - e.w; d <= uint64(4096-size) {
		c.storeN(e.add+d, size, v)
		return true
	}
	return c.writeSlow(la, size, v, mmu)
}

func (c *CPU) writeSlow(la uint64, size int, v uint64, mmu int) bool {
	if la&0xfff+uint64(size) > 4096 {
		return c.writeCross(la, size, v, mmu)
	}
	p, ok := c.translate(la, accWrite, mmu)
	if !ok || !c.mayWrite(p, size) {
		return false
	}
	c.writePlace(p, size, v)
	if p.ram && !p.rom {
		c.tagWrite(la, p.off, mmu)
	}
	return true
}

// mayWrite makes a place ready to be written: everything that can refuse the
// write happens here, before any effect.
func (c *CPU) mayWrite(p place, size int) bool {
	if !p.ram {
		c.stepReq = c.stepReq || c.inBlock
		return !c.inBlock
	}
	if p.rom {
		return true
	}
	page := uint32(p.off >> mem.PageShift)
	if c.mem.Flags(page) == 0 {
		return true
	}
	if c.inBlock && (c.shared.codeAt(p.off, size) || c.shared.tableAt(p.off, size)) {
		c.stepReq = true
		return false
	}
	return c.touch(page)
}

// writePlace stores where mayWrite agreed, drops code translated from these
// bytes, and empties the TLBs if they were page-table entries in use.
func (c *CPU) writePlace(p place, size int, v uint64) {
	if !p.ram {
		c.event = true
		c.bus.WriteMMIO(p.pa, size, v)
		return
	}
	if p.rom {
		return
	}
	if c.mem.Flags(uint32(p.off>>mem.PageShift)) != 0 {
		if c.shared.codeAt(p.off, size) {
			c.shared.dropCode(p.off, size)
		}
		if c.shared.tableAt(p.off, size) && c.loadN(p.off, size) != v&sizeMask(size) {
			c.undoTables = true
			c.shared.tableChanged()
		}
	}
	c.storeN(p.off, size, v)
}

func (c *CPU) writeCross(la uint64, size int, v uint64, mmu int) bool {
	p0, ok := c.translate(la, accWrite, mmu)
	if !ok {
		return false
	}
	p1, ok := c.translate(c.secondPage(la), accWrite, mmu)
	if !ok {
		return false
	}
	n0 := 4096 - int(la&0xfff)
	if !c.mayWrite(p0, n0) || !c.mayWrite(p1, size-n0) {
		return false
	}
	for i := 0; i < size; i++ {
		p, k := p0, i
		if i >= n0 {
			p, k = p1, i-n0
		}
		p.pa += uint64(k)
		p.off += uint64(k)
		c.writePlace(p, 1, v>>(8*i)&0xff)
	}
	return true
}

// probe checks that n bytes (at most 4096) at la can be accessed with acc, so
// that what follows cannot fault. A refused write leaves stepReq set.
func (c *CPU) probe(la uint64, n, acc, mmu int) bool {
	end := la + uint64(n-1)
	if c.mode != isa.Mode64 {
		end &= 0xffffffff
	}
	if !c.probePage(la, acc, mmu) {
		return false
	}
	return la>>12 == end>>12 || c.probePage(end&^0xfff, acc, mmu)
}

func (c *CPU) probePage(la uint64, acc, mmu int) bool {
	e := c.tlb[mmu].slot(la)
	tag := e.r
	if acc == accWrite {
		tag = e.w
	}
	if la-tag <= 4095 {
		return true
	}
	p, ok := c.translate(la, acc, mmu)
	if !ok {
		return false
	}
	if acc == accWrite {
		n := 4096 - int(la&0xfff)
		return c.mayWrite(p, n)
	}
	if !p.ram && c.inBlock {
		c.stepReq = true
		return false
	}
	return true
}

// plain is the arena offset of la, where that is memory that may be accessed
// without anybody taking note; it takes none itself. One of two pages that share a
// slot of the TLB is found as well as any.
func (c *CPU) plain(la uint64, acc int) (off uint64, ok bool) {
	e := c.tlb[c.mmu].slot(la)
	tag := e.r
	if acc == accWrite {
		tag = e.w
	}
	if la-tag <= 4095 {
		return e.add + (la - tag), true
	}
	if c.mem.Missing() != 0 {
		return 0, false
	}
	fault, inBlock, stepReq := c.fault, c.inBlock, c.stepReq
	c.inBlock = true // what has an effect is refused
	p, ok := c.translate(la, acc, c.mmu)
	c.fault, c.inBlock, c.stepReq = fault, inBlock, stepReq
	if !ok || !p.ram {
		return 0, false
	}
	if acc == accWrite {
		if p.rom || c.mem.Flags(uint32(p.off>>mem.PageShift)) != 0 {
			return 0, false
		}
		c.tagWrite(la, p.off, c.mmu)
	}
	return p.off, true
}

func sizeMask(size int) uint64 { return ^uint64(0) >> (64 - 8*uint(size)) }

// linear turns a segmented address into a linear one for an access of size
// bytes, with the segment's checks [SDM 3A 5.3, SDM 1 3.3.7.1].
func (c *CPU) linear(seg uint8, off uint64, size, acc int) (uint64, bool) {
	if c.mode == isa.Mode64 {
		la := off
		if seg >= isa.FS {
			if c.amd && !(c.canonical(off) && c.canonical(off+uint64(size-1))) { // checked before the base is added, too
				return 0, c.gp(0)
			}
			la += c.Seg[seg].Base
		}
		if !c.canonical(la) || !c.canonical(la+uint64(size-1)) {
			if !c.amd && size <= 8 && c.canonical(la) && !c.aligned(la, size) {
				return 0, false // Intel's processors look at the end after the alignment
			}
			return 0, c.segFault(seg)
		}
		return la, true
	}
	s := &c.Seg[seg]
	if s.Attr&segP == 0 || !segAllows(s, acc) {
		if c.protected() || c.longMode() {
			return 0, c.segFault(seg)
		}
	}
	if !c.inLimit(s, off, size) {
		return 0, c.segFault(seg)
	}
	return (s.Base + off) & 0xffffffff, true
}

func (c *CPU) segFault(seg uint8) bool {
	if seg == isa.SS {
		return c.raiseErr(vecSS, 0)
	}
	return c.gp(0)
}

// segAllows tells whether the segment's type permits the access.
func segAllows(s *Segment, acc int) bool {
	if s.Attr&segCode != 0 {
		return acc == accExec || (acc == accRead && s.Attr&segReadable != 0)
	}
	return acc == accRead || (acc == accWrite && s.Attr&segWritable != 0)
}

// inLimit checks [off, off+size) against the limit. On Intel's processors a limit
// of 4 GiB is none: what runs over it goes on at 0 [SDM 3A 5.3].
func (c *CPU) inLimit(s *Segment, off uint64, size int) bool {
	return inLimit(s, off, size) || !c.amd && s.Limit == 0xffffffff && s.Attr&(segCode|segDown) != segDown
}

// inLimit does so strictly; expand-down segments hold what is above their limit.
func inLimit(s *Segment, off uint64, size int) bool {
	last := off + uint64(size-1)
	if s.Attr&(segCode|segDown) == segDown {
		top := uint64(0xffff)
		if s.Attr&segDB != 0 {
			top = 0xffffffff
		}
		return off > uint64(s.Limit) && last <= top
	}
	return last <= uint64(s.Limit)
}

// load reads from a segmented address.
func (c *CPU) load(seg uint8, off uint64, size int) (uint64, bool) {
	la, ok := c.linear(seg, off, size, accRead)
	if !ok || !c.aligned(la, size) {
		return 0, false
	}
	v, ok := c.readLin(la, size, c.mmu)
	if ok && c.DR[7]&0xff != 0 {
		c.dataBreak(la, size, false)
	}
	return v, ok
}

// store writes to a segmented address.
func (c *CPU) store(seg uint8, off uint64, size int, v uint64) bool {
	la, ok := c.linear(seg, off, size, accWrite)
	ok = ok && c.aligned(la, size) && c.writeLin(la, size, v, c.mmu)
	if ok && c.DR[7]&0xff != 0 {
		c.dataBreak(la, size, true)
	}
	return ok
}

// aligned raises #AC where alignment checking is on and la is not aligned.
func (c *CPU) aligned(la uint64, size int) bool {
	if la&uint64(size-1) == 0 || c.CPL != 3 || c.RFLAGS&flagAC == 0 || c.CR0&cr0AM == 0 {
		return true
	}
	return c.raiseErr(vecAC, 0)
}
