package cpu

import "godwit/cpu/isa"

func init() {
	register(map[isa.Op]handler{
		isa.JMPFAR: hJmpFar, isa.CALLFAR: hCallFar, isa.RETFAR: hRetFar, isa.IRET: hIret,
	})
}

// farTarget resolves the operand of a far branch.
func (c *CPU) farTarget(in *isa.Inst) (sel uint16, off uint64, ok bool) {
	if isa.Rows[in.Row].Args[0] == isa.ArgFar {
		return in.Imm2, in.Imm & sizeMask(int(in.OpSize)), true
	}
	return c.farPointer(in)
}

// inCode checks an entry point against a code segment, raising nothing.
func (c *CPU) inCode(s *Segment, off uint64) bool {
	if c.longMode() && s.Attr&segL != 0 {
		return c.canonical(off)
	}
	return off <= uint64(s.Limit)
}

// enterCode makes d the code segment, off the next instruction and cpl the
// privilege level. Everything was checked.
func (c *CPU) enterCode(d *descriptor, cpl uint8, off uint64) {
	s := d.segment()
	s.Sel = s.Sel&^3 | uint16(cpl)
	c.Seg[isa.CS] = s
	c.CPL = cpl
	c.nextRIP = off
	c.changed()
}

// farReal is a far branch in real and virtual-8086 mode.
func (c *CPU) farReal(sel uint16, off uint64) bool {
	if off > uint64(c.Seg[isa.CS].Limit) {
		return c.gp(0)
	}
	c.realSegment(isa.CS, sel)
	c.nextRIP = off
	c.changed()
	return true
}

func hJmpFar(c *CPU, in *isa.Inst) bool {
	sel, off, ok := c.farTarget(in)
	if !ok {
		return false
	}
	if !c.protected() {
		return c.farReal(sel, off)
	}
	d, ok := c.farDescriptor(sel)
	if !ok {
		return false
	}
	if d.attr()&segS != 0 {
		if !c.directCode(&d) || !c.entry(&d, &off) {
			return false
		}
		c.enterCode(&d, c.CPL, off)
		return true
	}
	if c.namesTask(&d) {
		return c.farTask(&d, taskJump)
	}
	g, t, ok := c.callGate(&d)
	if !ok {
		return false
	}
	if t.attr()&segConform == 0 && t.dpl() != c.CPL {
		return c.gp(uint32(t.sel &^ 3))
	}
	if s := t.segment(); !c.inCode(&s, g.off()) {
		return c.gp(0)
	}
	if !c.markAccessed(&t) {
		return false
	}
	c.enterCode(&t, c.CPL, g.off())
	return true
}

// farDescriptor fetches the descriptor a far branch names.
func (c *CPU) farDescriptor(sel uint16) (d descriptor, ok bool) {
	if sel&^3 == 0 {
		return d, c.gp(0)
	}
	return c.descriptor(sel, vecGP, 0)
}

// directCode checks a code segment that a far JMP or CALL names itself
// [SDM 3A 5.8.1].
func (c *CPU) directCode(d *descriptor) bool {
	a, code := d.attr(), uint32(d.sel&^3)
	if a&segCode == 0 || !c.codeSize(a) {
		return c.gp(code)
	}
	if a&segConform != 0 {
		if d.dpl() > c.CPL {
			return c.gp(code)
		}
	} else if d.dpl() != c.CPL || uint8(d.sel&3) > c.CPL {
		return c.gp(code)
	}
	if a&segP == 0 {
		return c.raiseErr(vecNP, code)
	}
	return true
}

// entry checks that a code segment holds *off, and marks it accessed. Intel's
// processors cut a 64-bit offset into a segment that is not 64-bit code.
func (c *CPU) entry(d *descriptor, off *uint64) bool {
	if !c.amd && d.attr()&segL == 0 {
		*off &= 0xffffffff
	}
	if s := d.segment(); !c.inCode(&s, *off) {
		return c.gp(0)
	}
	return c.markAccessed(d)
}

// codeSize rejects the reserved combination of L and D.
func (c *CPU) codeSize(a uint16) bool {
	return !c.longMode() || a&(segL|segDB) != segL|segDB
}

// callGate checks a call gate and the code segment it names [SDM 3A 5.8.4].
func (c *CPU) callGate(d *descriptor) (g gate, t descriptor, ok bool) {
	code := uint32(d.sel &^ 3)
	k := d.kind()
	if k != gateCall32 && (k != gateCall16 || c.longMode()) {
		return g, t, c.gp(code)
	}
	if d.dpl() < c.CPL || d.dpl() < uint8(d.sel&3) {
		return g, t, c.gp(code)
	}
	if d.attr()&segP == 0 {
		return g, t, c.raiseErr(vecNP, code)
	}
	if c.longMode() && !c.readHigh(d) {
		return g, t, false
	}
	g = gate{d.lo, d.hi}
	if t, ok = c.farDescriptor(g.sel()); !ok {
		return g, t, false
	}
	a, code := t.attr(), uint32(t.sel&^3)
	if a&(segS|segCode) != segS|segCode || t.dpl() > c.CPL {
		return g, t, c.gp(code)
	}
	if c.longMode() && a&(segL|segDB) != segL {
		return g, t, c.gp(code)
	}
	if a&segP == 0 {
		return g, t, c.raiseErr(vecNP, code)
	}
	return g, t, true
}

func hCallFar(c *CPU, in *isa.Inst) bool {
	sel, off, ok := c.farTarget(in)
	if !ok {
		return false
	}
	size := int(in.OpSize)
	if in.Flags&isa.FlagVexW != 0 {
		size = 8 // also where the pointer's offset has 4 bytes [APM 3 CALL (Far)]
	}
	f := c.currentFrame(0)
	f.mmu = c.mmu
	if !c.protected() {
		if off > uint64(c.Seg[isa.CS].Limit) {
			return c.gp(0)
		}
		if !c.pushReturn(&f, size) {
			return false
		}
		c.useFrame(&f)
		return c.farReal(sel, off)
	}
	d, ok := c.farDescriptor(sel)
	if !ok {
		return false
	}
	if c.namesTask(&d) {
		return c.farTask(&d, taskCall)
	}
	if d.attr()&segS == 0 {
		return c.callThroughGate(&d)
	}
	if !c.directCode(&d) {
		return false
	}
	if wide := c.longMode() && d.attr()&segL != 0; wide != f.long {
		f.long = false // entering or leaving 64-bit mode, ESP counts
		if at := (f.sp - uint64(size)) & f.mask(); wide && c.amd && !c.frameAligned(&f, f.ss.Base+at, size) {
			return false // before the limit
		}
		if wide && !c.amd { // Intel's processors push as 64-bit code does
			f.long, f.sp = true, f.sp&0xffffffff
		}
	}
	// The return address is written even when the target then is no good.
	if !c.pushReturn(&f, size) || !c.entry(&d, &off) {
		return false
	}
	c.useFrame(&f)
	c.enterCode(&d, c.CPL, off)
	return true
}

// pushReturn pushes CS and the address of the next instruction.
func (c *CPU) pushReturn(f *frame, size int) bool {
	return c.pushTo(f, size, uint64(c.Seg[isa.CS].Sel)) && c.pushTo(f, size, c.nextRIP)
}

// callThroughGate is CALL through a call gate, with a change of stacks when the
// privilege rises [SDM 3A 5.8.4, 5.8.5].
func (c *CPU) callThroughGate(d *descriptor) bool {
	g, t, ok := c.callGate(d)
	if !ok {
		return false
	}
	if s := t.segment(); !c.inCode(&s, g.off()) {
		return c.gp(0)
	}
	size, cpl := g.size(), c.CPL
	if c.longMode() {
		size = 8
	}
	f := c.currentFrame(0)
	f.long = c.longMode()
	if t.attr()&segConform == 0 && t.dpl() < c.CPL {
		cpl = t.dpl()
		if f, ok = c.gateCallStack(g, cpl, size); !ok {
			return false
		}
	}
	if !c.markAccessed(&t) || !c.pushReturn(&f, size) {
		return false
	}
	c.useFrame(&f)
	c.enterCode(&t, cpl, g.off())
	return true
}

// gateCallStack prepares the inner stack: the caller's SS and stack pointer,
// and outside long mode the gate's count of parameters.
func (c *CPU) gateCallStack(g gate, cpl uint8, size int) (f frame, ok bool) {
	outer := c.currentFrame(0)
	sp := outer.sp & outer.mask()
	if c.longMode() {
		f = frame{ss: nullStack(cpl), long: true, mmu: c.mmuFor(cpl)}
		f.sp, ok = c.tss64(tssRSP0+8*uint64(cpl), 0)
	} else {
		f, ok = c.innerStack(cpl, 0)
	}
	if !ok || !c.pushTo(&f, size, uint64(c.Seg[isa.SS].Sel)) || !c.pushTo(&f, size, sp) {
		return f, false
	}
	if c.longMode() {
		return f, true
	}
	for i := g.params() - 1; i >= 0; i-- {
		at := outer
		at.sp = sp + uint64(i*size)
		v, ok := c.popFrom(&at, size)
		if !ok || !c.pushTo(&f, size, v) {
			return f, false
		}
	}
	return f, true
}

func hRetFar(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	var n uint64
	if isa.Rows[in.Row].Args[0] == isa.ArgImm {
		n = in.Imm & 0xffff
	}
	f := c.currentFrame(0)
	f.mmu = c.mmu
	var v [2]uint64
	if !c.popAll(&f, size, v[:]) {
		return false
	}
	rip, cs := v[0], v[1]
	f.sp = (f.sp + n) & f.mask()
	if !c.protected() {
		if !c.farReal(uint16(cs), rip) {
			return false
		}
		c.useFrame(&f)
		return true
	}
	return c.farReturn(&f, uint16(cs), rip, size, n)
}

// farReturn is the protected-mode part of RET [SDM 2 RET].
func (c *CPU) farReturn(f *frame, cs uint16, rip uint64, size int, n uint64) bool {
	if uint8(cs&3) == c.CPL {
		d, ok := c.returnCode(cs, &rip)
		if !ok {
			return false
		}
		c.widen(f, &d, 2*uint64(size), n)
		c.useFrame(f)
		c.enterCode(&d, c.CPL, rip)
		return true
	}
	d, o, ok := c.outerFrame(f, cs, &rip, size, n)
	if !ok {
		return false
	}
	c.leaveTo(&d, &o, rip)
	return true
}

// outerFrame pops the outer stack, with n bytes of parameters on it, and checks
// both segments of a return. Intel's processors look at the descriptor of the code
// first, at the stack, and at what the code segment holds last.
func (c *CPU) outerFrame(f *frame, cs uint16, rip *uint64, size int, n uint64) (d descriptor, o frame, ok bool) {
	var v [2]uint64
	if !c.amd {
		if d, ok = c.returnDescriptor(cs); !ok {
			return d, o, false
		}
	}
	if !c.popAll(f, size, v[:]) {
		return d, o, false
	}
	if c.amd {
		if d, ok = c.returnCode(cs, rip); !ok {
			return d, o, false
		}
	}
	o, ok = c.outerStack(uint16(v[1]), v[0]+n, &d, uint8(cs&3))
	return d, o, ok && (c.amd || c.entry(&d, rip))
}

// widen makes the stack that of 64-bit code d, to which a return leads from
// compatibility mode: what was popped, and n bytes of parameters, are then added
// to all of ESP. On Intel's processors their sum is as wide as the old stack.
func (c *CPU) widen(f *frame, d *descriptor, popped, n uint64) {
	if !c.longMode() || c.mode == isa.Mode64 || d.attr()&segL == 0 {
		return
	}
	popped += n
	if !c.amd {
		popped &= f.mask()
	}
	f.long, f.sp = true, (c.R[RSP]+popped)&0xffffffff
}

// returnCode checks the code segment of RET and IRET, and marks it accessed.
func (c *CPU) returnCode(cs uint16, rip *uint64) (d descriptor, ok bool) {
	if d, ok = c.returnDescriptor(cs); !ok {
		return d, false
	}
	return d, c.entry(&d, rip)
}

// returnDescriptor checks the descriptor of that segment.
func (c *CPU) returnDescriptor(cs uint16) (d descriptor, ok bool) {
	if d, ok = c.farDescriptor(cs); !ok {
		return d, false
	}
	a, code, rpl := d.attr(), uint32(cs&^3), uint8(cs&3)
	if a&(segS|segCode) != segS|segCode || rpl < c.CPL || !c.codeSize(a) {
		return d, c.gp(code)
	}
	if a&segConform != 0 && d.dpl() > rpl || a&segConform == 0 && d.dpl() != rpl {
		return d, c.gp(code)
	}
	if a&segP == 0 {
		return d, c.raiseErr(vecNP, code)
	}
	return d, true
}

// outerStack checks the stack that a return to privilege level cpl restores.
// 64-bit code below level 3 may have a null SS.
func (c *CPU) outerStack(ss uint16, sp uint64, d *descriptor, cpl uint8) (f frame, ok bool) {
	long := c.longMode() && d.attr()&segL != 0
	if ss&^3 == 0 {
		if !long || cpl == 3 || uint8(ss&3) != cpl {
			return f, c.gp(0)
		}
		f = frame{ss: nullStack(cpl), sp: sp, long: true}
		f.ss.Sel = ss
		return f, true
	}
	s, ok := c.stackDescriptor(ss, cpl, vecGP, 0)
	if !ok || !c.markAccessed(&s) {
		return f, false
	}
	return frame{ss: s.segment(), sp: sp, long: long}, true
}

// leaveTo commits a return to outer code: segments that it may not use become
// null [SDM 2 RET].
func (c *CPU) leaveTo(d *descriptor, f *frame, rip uint64) {
	cpl := uint8(d.sel & 3)
	for _, s := range [...]int{isa.ES, isa.DS, isa.FS, isa.GS} {
		g := &c.Seg[s]
		if g.dpl() < cpl && g.Attr&(segCode|segConform) != segCode|segConform {
			base := g.Base
			*g = Segment{}
			if c.longMode() && s >= isa.FS {
				g.Base = base
			}
		}
	}
	c.useFrame(f)
	c.enterCode(d, cpl, rip)
}
