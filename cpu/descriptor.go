package cpu

import "godwit/cpu/isa"

// System descriptor types with the S bit clear [SDM 3A 3.5 table 3-2].
const (
	sysTSS16     = 1
	sysLDT       = 2
	sysTSS16Busy = 3
	gateCall16   = 4
	gateTask     = 5
	gateInt16    = 6
	gateTrap16   = 7
	sysTSS32     = 9
	sysTSS32Busy = 11
	gateCall32   = 12
	gateInt32    = 14
	gateTrap32   = 15

	sysBusy = 2
)

// Offsets in task-state segments [SDM 3A 8.2.1, 8.7].
const (
	tssRSP0  = 4    // 64-bit: RSP0, RSP1, RSP2
	tssIST1  = 0x24 // 64-bit: IST1...IST7
	tssIOMap = 0x66 // offset of the I/O permission bitmap
)

// sysMMU is the TLB of implicit supervisor accesses: to descriptor tables, TSS
// and the stacks of handlers [SDM 3A 4.6.1].
func (c *CPU) sysMMU() int {
	if c.CR4&cr4SMAP != 0 {
		return mmuKernel
	}
	return mmuKernelAC
}

// mmuFor is the TLB for accesses to the stack of privilege level cpl.
func (c *CPU) mmuFor(cpl uint8) int {
	if cpl == 3 {
		return mmuUser
	}
	return c.sysMMU()
}

// sysRead reads a system structure at a linear address.
func (c *CPU) sysRead(la uint64, size int) (uint64, bool) {
	return c.rawRead(la, size, c.sysMMU())
}

// rawRead is readLin for addresses whose width the mode of the running code
// does not limit: in compatibility mode, tables and stacks may lie above 4 GiB.
func (c *CPU) rawRead(la uint64, size, mmu int) (v uint64, ok bool) {
	if !c.longMode() {
		la &= 0xffffffff
	}
	if la&0xfff+uint64(size) <= 4096 {
		return c.readLin(la, size, mmu)
	}
	for i := 0; i < size; i++ {
		b, ok := c.rawRead(la+uint64(i), 1, mmu)
		if !ok {
			return 0, false
		}
		v |= b << (8 * i)
	}
	return v, true
}

// rawWrite is rawRead's counterpart. Bytes before a fault may have been written.
func (c *CPU) rawWrite(la uint64, size int, v uint64, mmu int) bool {
	if !c.longMode() {
		la &= 0xffffffff
	}
	if la&0xfff+uint64(size) <= 4096 {
		return c.writeLin(la, size, v, mmu)
	}
	for i := 0; i < size; i++ {
		if !c.rawWrite(la+uint64(i), 1, v>>(8*i)&0xff, mmu) {
			return false
		}
	}
	return true
}

// descriptor is an entry of the GDT or LDT.
type descriptor struct {
	sel uint16
	la  uint64
	lo  uint64
	hi  uint64 // second half of a system descriptor in long mode, see readHigh
}

func (d *descriptor) attr() uint16 { return uint16(d.lo>>40) & 0xf0ff }
func (d *descriptor) dpl() uint8   { return uint8(d.lo>>45) & 3 }

// kind is the type field with the S bit above it.
func (d *descriptor) kind() uint8 { return uint8(d.lo>>40) & 0x1f }

// segment decodes the descriptor [SDM 3A 3.4.5].
func (d *descriptor) segment() Segment {
	limit := uint32(d.lo&0xffff | d.lo>>32&0xf0000)
	if d.attr()&segG != 0 {
		limit = limit<<12 | 0xfff
	}
	base := d.lo>>16&0xffffff | d.lo>>32&0xff000000
	return Segment{Sel: d.sel, Attr: d.attr(), Limit: limit, Base: base | d.hi<<32}
}

// gate is an entry of the IDT, or a call gate.
type gate struct{ lo, hi uint64 }

func (g gate) kind() uint8   { return uint8(g.lo>>40) & 0x1f }
func (g gate) dpl() uint8    { return uint8(g.lo>>45) & 3 }
func (g gate) present() bool { return g.lo>>47&1 != 0 }
func (g gate) sel() uint16   { return uint16(g.lo >> 16) }
func (g gate) ist() uint64   { return g.lo >> 32 & 7 }
func (g gate) params() int   { return int(g.lo >> 32 & 31) }

// size is the width of what the gate pushes outside long mode: the 16-bit kinds
// have bit 3 clear.
func (g gate) size() int {
	if g.kind()&8 == 0 {
		return 2
	}
	return 4
}

// off is the entry point.
func (g gate) off() uint64 {
	if g.kind()&8 == 0 {
		return g.lo & 0xffff
	}
	return g.lo&0xffff | g.lo>>32&0xffff0000 | g.hi<<32
}

// findDescriptor fetches the descriptor a selector names. found is false beyond
// the table's limit; ok is false when the fetch itself faulted.
func (c *CPU) findDescriptor(sel uint16) (d descriptor, found, ok bool) {
	base, limit := c.GDTR.Base, uint64(c.GDTR.Limit)
	if sel&4 != 0 {
		if c.LDTR.Attr&segP == 0 {
			return d, false, true
		}
		base, limit = c.LDTR.Base, uint64(c.LDTR.Limit)
	}
	off := uint64(sel &^ 7)
	if off+7 > limit {
		return d, false, true
	}
	d = descriptor{sel: sel, la: base + off}
	d.lo, ok = c.sysRead(d.la, 8)
	return d, ok, ok
}

// descriptor fetches a descriptor that must exist; vec and ext tell how its
// absence is reported.
func (c *CPU) descriptor(sel uint16, vec uint8, ext uint32) (descriptor, bool) {
	d, found, ok := c.findDescriptor(sel)
	if ok && !found {
		return d, c.raiseErr(vec, uint32(sel&^3)|ext)
	}
	return d, ok
}

// readHigh fetches the upper half of a 16-byte system descriptor, whose type
// field must be zero [SDM 3A 3.5.2, 6.8.3.1].
func (c *CPU) readHigh(d *descriptor) bool {
	base, limit := c.GDTR.Base, uint64(c.GDTR.Limit)
	if d.sel&4 != 0 {
		base, limit = c.LDTR.Base, uint64(c.LDTR.Limit)
	}
	if d.la-base+15 > limit {
		return c.gp(uint32(d.sel &^ 3))
	}
	hi, ok := c.sysRead(d.la+8, 8)
	if !ok {
		return false
	}
	if hi>>40&0x1f != 0 {
		return c.gp(uint32(d.sel &^ 3))
	}
	d.hi = hi & 0xffffffff
	if d.attr()&segS == 0 && d.kind() != gateCall32 {
		if s := d.segment(); !c.canonicalBase(s.Base) {
			return c.gp(uint32(d.sel &^ 3))
		}
	}
	return true
}

// markAccessed sets the accessed bit of a code or data descriptor.
func (c *CPU) markAccessed(d *descriptor) bool {
	if d.attr()&segAccessed != 0 {
		return true
	}
	d.lo |= segAccessed << 40
	return c.rawWrite(d.la+5, 1, d.lo>>40&0xff, c.sysMMU())
}

// nullStack is SS after a change of privilege in long mode [SDM 3A 6.14.2].
func nullStack(cpl uint8) Segment {
	return Segment{Sel: uint16(cpl), Attr: uint16(cpl) << segDPLShift}
}

// frame is a stack being built, which SS may not hold yet.
type frame struct {
	ss   Segment
	sp   uint64
	long bool   // flat 64-bit stack
	mmu  int    // with whose rights
	err  uint32 // error code of its #SS
}

func (f *frame) mask() uint64 {
	switch {
	case f.long:
		return ^uint64(0)
	case f.ss.Attr&segDB != 0:
		return 0xffffffff
	}
	return 0xffff
}

// currentFrame goes on with the stack in use.
func (c *CPU) currentFrame(err uint32) frame {
	return frame{ss: c.Seg[isa.SS], sp: c.R[RSP], long: c.mode == isa.Mode64, mmu: c.mmuFor(c.CPL), err: err}
}

// frameAddr is the linear address of size bytes at offset sp.
func (c *CPU) frameAddr(f *frame, sp uint64, size int) (uint64, bool) {
	if f.long {
		if !c.canonical(sp) || !c.canonical(sp+uint64(size-1)) {
			return 0, c.raiseErr(vecSS, f.err)
		}
		return sp, true
	}
	if !c.inLimit(&f.ss, sp, size) {
		return 0, c.raiseErr(vecSS, f.err)
	}
	return (f.ss.Base + sp) & 0xffffffff, true
}

// frameAligned is the alignment check of a stack that user code has now.
func (c *CPU) frameAligned(f *frame, la uint64, size int) bool {
	return f.mmu != mmuUser || c.aligned(la, size)
}

// pushTo pushes onto a frame.
func (c *CPU) pushTo(f *frame, size int, v uint64) bool {
	sp := (f.sp - uint64(size)) & f.mask()
	la, ok := c.frameAddr(f, sp, size)
	if !ok || !c.frameAligned(f, la, size) || !c.rawWrite(la, size, v&sizeMask(size), f.mmu) {
		return false
	}
	f.sp = sp
	return true
}

// popFrom pops from a frame.
func (c *CPU) popFrom(f *frame, size int) (uint64, bool) {
	sp := f.sp & f.mask()
	la, ok := c.frameAddr(f, sp, size)
	if !ok || !c.frameAligned(f, la, size) {
		return 0, false
	}
	v, ok := c.rawRead(la, size, f.mmu)
	if ok {
		f.sp = (sp + uint64(size)) & f.mask()
	}
	return v, ok
}

// useFrame makes the frame the stack. Of a narrow stack pointer the upper bits
// stay.
func (c *CPU) useFrame(f *frame) {
	c.Seg[isa.SS] = f.ss
	m := f.mask()
	if m == 0xffff {
		c.R[RSP] = c.R[RSP]&^m | f.sp&m
		return
	}
	c.R[RSP] = f.sp & m
}

// tss64 reads a stack pointer from the 64-bit TSS.
func (c *CPU) tss64(off uint64, ext uint32) (uint64, bool) {
	if off+7 > uint64(c.TR.Limit) {
		return 0, c.raiseErr(vecTS, uint32(c.TR.Sel&^3)|ext)
	}
	return c.sysRead(c.TR.Base+off, 8)
}

// tssStack reads SS and the stack pointer for level cpl from a 16- or 32-bit
// TSS [SDM 3A 8.2.1, 8.6].
func (c *CPU) tssStack(cpl uint8, ext uint32) (sel uint16, sp uint64, ok bool) {
	size := 2
	if c.TR.Attr&8 != 0 {
		size = 4
	}
	off := uint64(size) * (1 + 2*uint64(cpl))
	if off+uint64(size)+1 > uint64(c.TR.Limit) {
		return 0, 0, c.raiseErr(vecTS, uint32(c.TR.Sel&^3)|ext)
	}
	if sp, ok = c.sysRead(c.TR.Base+off, size); !ok {
		return 0, 0, false
	}
	s, ok := c.sysRead(c.TR.Base+off+uint64(size), 2)
	return uint16(s), sp, ok
}

// innerStack is the stack of a more privileged level, from the TSS
// [SDM 3A 5.8.5].
func (c *CPU) innerStack(cpl uint8, ext uint32) (f frame, ok bool) {
	sel, sp, ok := c.tssStack(cpl, ext)
	if !ok {
		return f, false
	}
	if sel&^3 == 0 {
		return f, c.raiseErr(vecTS, ext)
	}
	d, ok := c.stackDescriptor(sel, cpl, vecTS, ext)
	if !ok || !c.markAccessed(&d) {
		return f, false
	}
	return frame{ss: d.segment(), sp: sp, mmu: c.mmuFor(cpl), err: uint32(sel&^3) | ext}, true
}

// stackDescriptor fetches and checks a stack segment for level cpl. Violations
// raise vec; only absence is #SS.
func (c *CPU) stackDescriptor(sel uint16, cpl, vec uint8, ext uint32) (d descriptor, ok bool) {
	code := uint32(sel&^3) | ext
	d, ok = c.descriptor(sel, vec, ext)
	if !ok {
		return d, false
	}
	a := d.attr()
	if a&(segS|segCode|segWritable) != segS|segWritable || uint8(sel&3) != cpl || d.dpl() != cpl {
		return d, c.raiseErr(vec, code)
	}
	if a&segP == 0 {
		return d, c.raiseErr(vecSS, code)
	}
	return d, true
}
