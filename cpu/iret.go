package cpu

import "godwit/cpu/isa"

// What IRET and POPF may change besides the privileged bits.
const (
	flagsUser16 = flagsStatus | flagTF | flagDF | flagNT
	flagsUser   = flagsUser16 | flagAC | flagID
)

// hIret returns from an interrupt [SDM 2 IRET]. On Intel's processors NMIs come
// through again even if it faults [SDM 3A 6.7.1]; AMD's have to complete it [APM 2
// 15.21.10].
func hIret(c *CPU, in *isa.Inst) bool {
	ok := c.iret(in)
	if !ok {
		c.fault.unblocks = !c.amd
	}
	return ok
}

func (c *CPU) iret(in *isa.Inst) bool {
	size := int(in.OpSize)
	if c.vm86() && c.RFLAGS&flagIOPL != flagIOPL {
		return c.iretVME(size)
	}
	if c.protected() && c.RFLAGS&flagNT != 0 {
		return c.iretTask()
	}
	f := c.currentFrame(0)
	f.mmu = c.mmu
	var v [3]uint64
	if !c.popAll(&f, size, v[:]) {
		return false
	}
	rip, cs, flags := v[0], uint16(v[1]), v[2]
	switch {
	case !c.protected():
		if !c.farReal(cs, rip) {
			return false
		}
		c.useFrame(&f)
		c.setReturnFlags(flags, size)
	case flags&flagVM != 0 && size == 4 && c.CPL == 0 && !c.longMode():
		if !c.iretToVM86(&f, rip, cs, flags) {
			return false
		}
	default:
		if !c.iretProtected(&f, rip, cs, flags, size) {
			return false
		}
	}
	c.NMIBlocked = false
	c.unmasked()
	return true
}

// popAll pops len(v) values: the second is a selector, of six all after the first
// are. The last one is read first, as processors do; Intel's read 16 bits of a
// selector.
func (c *CPU) popAll(f *frame, size int, v []uint64) bool {
	for i := len(v) - 1; i >= 0; i-- {
		at, n := *f, size
		if !c.amd && (i == 1 || i > 1 && len(v) == 6) {
			n = 2
		}
		at.sp += uint64(i * size)
		x, ok := c.popFrom(&at, n)
		if !ok {
			return false
		}
		v[i] = x
	}
	f.sp = (f.sp + uint64(len(v)*size)) & f.mask()
	return true
}

// setReturnFlags loads RFLAGS with the rights of the level that executes IRET.
func (c *CPU) setReturnFlags(v uint64, size int) {
	mask := uint64(flagsUser | flagRF)
	if c.CPL == 0 && !c.vm86() {
		mask |= flagIOPL
		if c.protected() {
			mask |= flagVIF | flagVIP
		}
	}
	if uint64(c.CPL) <= c.RFLAGS&flagIOPL>>12 {
		mask |= flagIF
	}
	if size == 2 {
		mask &= 0xffff
	}
	c.setFlags(mask, v)
	c.changed()
}

// iretProtected returns to protected or long mode, at the same or an outer
// level. 64-bit code always restores SS:RSP.
func (c *CPU) iretProtected(f *frame, rip uint64, cs uint16, flags uint64, size int) bool {
	rpl := uint8(cs & 3)
	if rpl == c.CPL && c.mode != isa.Mode64 {
		d, ok := c.returnCode(cs, &rip)
		if !ok {
			return false
		}
		c.widen(f, &d, 3*uint64(size), 0)
		c.useFrame(f)
		c.setReturnFlags(flags, size)
		c.enterCode(&d, c.CPL, rip)
		return true
	}
	d, o, ok := c.outerFrame(f, cs, &rip, size, 0)
	if !ok {
		return false
	}
	c.setReturnFlags(flags, size)
	if rpl == c.CPL {
		c.useFrame(&o)
		c.enterCode(&d, rpl, rip)
		return true
	}
	c.leaveTo(&d, &o, rip)
	return true
}

// iretToVM86 enters a virtual-8086 task [SDM 3B 21.2.5].
func (c *CPU) iretToVM86(f *frame, rip uint64, cs uint16, flags uint64) bool {
	var v [6]uint64 // ESP, SS, ES, DS, FS, GS
	if !c.popAll(f, 4, v[:]) {
		return false
	}
	if rip > 0xffff {
		return c.gp(0)
	}
	c.RFLAGS = flags&(flagsUser|flagRF|flagIF|flagIOPL|flagVM|flagVIF|flagVIP) | flagsFixed
	c.CPL = 3
	c.R[RSP] = v[0]
	for i, s := range [...]int{isa.SS, isa.ES, isa.DS, isa.FS, isa.GS} {
		c.realSegment(s, uint16(v[1+i]))
	}
	c.realSegment(isa.CS, cs)
	c.nextRIP = rip
	c.changed()
	return true
}

// iretVME is IRET in virtual-8086 mode below IOPL 3: with VME and 16-bit
// operands VIF stands in for IF [SDM 3B 21.3].
func (c *CPU) iretVME(size int) bool {
	if c.CR4&cr4VME == 0 || size != 2 {
		return c.gp(0)
	}
	f := c.currentFrame(0)
	f.mmu = c.mmu
	var v [3]uint64
	if !c.popAll(&f, size, v[:]) {
		return false
	}
	if !c.vmeFlagsAllowed(v[2]) {
		return c.gp(0)
	}
	if !c.farReal(uint16(v[1]), v[0]) {
		return false
	}
	c.useFrame(&f)
	c.setVMEFlags(v[2])
	c.NMIBlocked = false
	c.unmasked()
	return true
}

// vmeFlagsAllowed: setting IF with an interrupt pending, or TF, leaves to the
// monitor.
func (c *CPU) vmeFlagsAllowed(v uint64) bool {
	return v&flagTF == 0 && (v&flagIF == 0 || c.RFLAGS&flagVIP == 0)
}

// setVMEFlags loads the lower 16 flags with VIF in place of IF.
func (c *CPU) setVMEFlags(v uint64) {
	c.setFlags(flagsUser16|flagVIF, v&flagsUser16|v&flagIF<<10)
}
