package cpu

import "godwit/cpu/isa"

// Attributes of the flat segments that fast system calls load
// [SDM 2 SYSCALL].
const (
	flatCode64 = segP | segS | segCode | segReadable | segAccessed | segL | segG
	flatCode32 = segP | segS | segCode | segReadable | segAccessed | segDB | segG
	flatData   = segP | segS | segWritable | segAccessed | segDB | segG
)

func init() {
	register(map[isa.Op]handler{
		isa.SYSCALL: hSyscall, isa.SYSRET: hSysret,
		isa.SYSENTER: hSysenter, isa.SYSEXIT: hSysexit,
	})
}

// flatSegments loads CS and SS with fixed descriptors for level cpl.
func (c *CPU) flatSegments(cs, ss, codeAttr uint16, cpl uint8) {
	dpl := uint16(cpl) << segDPLShift
	c.Seg[isa.CS] = Segment{Sel: cs, Attr: codeAttr | dpl, Limit: 0xffffffff}
	c.Seg[isa.SS] = Segment{Sel: ss, Attr: flatData | dpl, Limit: 0xffffffff}
	c.CPL = cpl
	c.changed()
}

// hSyscall: outside 64-bit mode it exists on AMD's processors only: to CSTAR in
// compatibility mode, to STAR's EIP in legacy mode [SDM 2 SYSCALL, APM 3
// SYSCALL].
func hSyscall(c *CPU, _ *isa.Inst) bool {
	if c.EFER&eferSCE == 0 || !c.protected() || c.mode != isa.Mode64 && !c.model.amd() {
		return c.ud()
	}
	c.materialize()
	cs := uint16(c.STAR>>32) &^ 3
	if !c.longMode() {
		c.R[RCX] = c.nextRIP & 0xffffffff
		c.RFLAGS &^= flagVM | flagIF | flagRF
		c.flatSegments(cs, cs+8, flatCode32, 0)
		c.nextRIP = c.STAR & 0xffffffff
		return true
	}
	target := c.LSTAR
	if c.mode != isa.Mode64 {
		target = c.CSTAR
	}
	c.R[RCX], c.R[11] = c.nextRIP, c.RFLAGS&^flagRF
	c.RFLAGS = c.RFLAGS&^(c.FMASK|flagRF) | flagsFixed
	c.flatSegments(cs, cs+8, flatCode64, 0)
	c.nextRIP = target
	return true
}

// hSysret: with a non-canonical RCX Intel's processors raise #GP here, AMD's
// only when the instruction there is fetched. SS gets its whole flat descriptor
// on both; AMD's keep the old attributes [SDM 2 SYSRET, APM 3 SYSRET].
func hSysret(c *CPU, in *isa.Inst) bool {
	if c.EFER&eferSCE == 0 || !c.protected() || c.mode != isa.Mode64 && !c.model.amd() {
		return c.ud()
	}
	if c.CPL != 0 {
		return c.gp(0)
	}
	base := uint16(c.STAR>>48) | 3
	cs, attr, rip := base, uint16(flatCode32), c.R[RCX]&0xffffffff
	if in.OpSize == 8 && c.mode == isa.Mode64 {
		cs, attr, rip = base+16, flatCode64, c.R[RCX]
		if !c.canonical(rip) && !c.model.amd() {
			return c.gp(0)
		}
	}
	if c.mode == isa.Mode64 {
		const mask = flagsUser | flagIF | flagIOPL | flagVIF | flagVIP
		c.lzOp = lzNone
		c.RFLAGS = c.R[11]&mask | flagsFixed
	} else {
		c.RFLAGS |= flagIF
	}
	c.flatSegments(cs, base+8, attr, 3)
	c.nextRIP = rip
	if c.RFLAGS&flagTF != 0 {
		c.DBPending |= dr6BS // as if the system call had been single-stepped
	}
	c.unmasked()
	return true
}

// hSysenter [SDM 2 SYSENTER]. AMD's processors do not have it in long mode
// [APM 3 SYSENTER].
func hSysenter(c *CPU, _ *isa.Inst) bool {
	if c.longMode() && c.model.amd() {
		return c.ud()
	}
	if c.realMode() || c.SysenterCS&0xfffc == 0 {
		return c.gp(0)
	}
	cs, attr, m := uint16(c.SysenterCS)&^3, uint16(flatCode32), uint64(0xffffffff)
	if c.longMode() {
		attr, m = flatCode64, ^uint64(0)
	}
	c.RFLAGS &^= flagVM | flagIF | flagRF
	c.R[RSP] = c.SysenterESP & m
	c.nextRIP = c.SysenterEIP & m
	c.flatSegments(cs, cs+8, attr, 0)
	return true
}

// hSysexit [SDM 2 SYSEXIT]. In long mode AMD's processors do not know it at any level
// [APM 3 SYSEXIT]; KVM's emulator makes #GP of that outside level 0.
func hSysexit(c *CPU, in *isa.Inst) bool {
	if c.longMode() && c.model.amd() {
		return c.ud()
	}
	if c.CPL != 0 || !c.protected() || c.SysenterCS&0xfffc == 0 {
		return c.gp(0)
	}
	base := uint16(c.SysenterCS) | 3
	rip, rsp := c.R[RDX], c.R[RCX]
	if in.OpSize == 8 {
		if !c.canonical(rip) || !c.canonical(rsp) {
			return c.gp(0)
		}
		c.flatSegments(base+32, base+40, flatCode64, 3)
	} else {
		rip, rsp = rip&0xffffffff, rsp&0xffffffff
		c.flatSegments(base+16, base+24, flatCode32, 3)
	}
	c.nextRIP, c.R[RSP] = rip, rsp
	return true
}
