package cpu

import "godwit/cpu/isa"

func init() {
	register(map[isa.Op]handler{
		isa.CPUID: hCpuid, isa.RDTSC: hRdtsc, isa.RDTSCP: hRdtscp, isa.RDPID: hRdpid, isa.RDPMC: hRdpmc,
		isa.RDMSR: supervisor(hRdmsr), isa.WRMSR: supervisor(hWrmsr),
		isa.HLT: supervisor(hHlt), isa.MONITOR: supervisorUD(hMonitor), isa.MWAIT: supervisorUD(hMwait),
		isa.STI: hSti, isa.CLI: hCli, isa.PUSHF: hPushf, isa.POPF: hPopf,
		isa.LAHF: hLahf, isa.SAHF: hSahf, isa.CLAC: hClac, isa.STAC: hStac,
		isa.CLC: flagOp(flagCF, 0), isa.STC: flagOp(flagCF, flagCF),
		isa.CLD: flagOp(flagDF, 0), isa.STD: flagOp(flagDF, flagDF), isa.CMC: hCmc,
		isa.IN: hIn, isa.OUT: hOut,
		isa.INVLPG: supervisor(hInvlpg), isa.INVPCID: supervisor(hInvpcid),
		isa.INVD: supervisor(hNop), isa.WBINVD: supervisor(hNop), isa.WBNOINVD: supervisor(hNop),
		isa.RDRAND: hRdrand, isa.RDSEED: hRdrand,
		isa.XGETBV: hXgetbv, isa.XSETBV: hXsetbv,
		isa.RDPKRU: hRdpkru, isa.WRPKRU: hWrpkru,
		isa.UD0: hUd, isa.UD1: hUd, isa.UD2: hUd,
		isa.CLFLUSH: hTouch, isa.CLFLUSHOPT: hTouch, isa.CLWB: hTouch,
		isa.PREFETCH: hNop, isa.PREFETCHW: hNop, isa.PREFETCHWT1: hNop, isa.PREFETCHNTA: hNop,
		isa.PREFETCHT0: hNop, isa.PREFETCHT1: hNop, isa.PREFETCHT2: hNop,
		isa.LFENCE: hNop, isa.MFENCE: hNop, isa.SFENCE: hNop, isa.SERIALIZE: hNop,
		isa.ENDBR64: hNop, isa.ENDBR32: hNop,
	})
}

func hUd(c *CPU, _ *isa.Inst) bool { return c.ud() }

// hTouch checks the operand of a cache line instruction as a byte read.
func hTouch(c *CPU, in *isa.Inst) bool {
	la, ok := c.linear(in.Seg, c.ea(in), 1, accRead)
	return ok && c.probe(la, 1, accRead, c.mmu)
}

// tsc is the time stamp counter with this vCPU's adjustment.
func (c *CPU) tsc() uint64 { return c.bus.TSC() + c.TSCAdjust }

// setEDXEAX writes a 64-bit result to EDX:EAX.
func (c *CPU) setEDXEAX(v uint64) {
	c.R[RAX], c.R[RDX] = v&0xffffffff, v>>32
}

func (c *CPU) edxEAX() uint64 { return c.R[RDX]<<32 | c.R[RAX]&0xffffffff }

// tscAllowed checks CR4.TSD.
func (c *CPU) tscAllowed() bool { return c.CR4&cr4TSD == 0 || c.CPL == 0 || c.gp(0) }

func hRdtsc(c *CPU, _ *isa.Inst) bool {
	if !c.tscAllowed() {
		return false
	}
	c.setEDXEAX(c.tsc())
	return true
}

func hRdtscp(c *CPU, in *isa.Inst) bool {
	if !hRdtsc(c, in) {
		return false
	}
	c.R[RCX] = c.TSCAux & 0xffffffff
	return true
}

func hRdpid(c *CPU, in *isa.Inst) bool {
	c.setReg(in, in.RM, int(in.OpSize), c.TSCAux&0xffffffff)
	return true
}

// hRdpmc: no performance counter exists, so that any index is beyond the last.
func hRdpmc(c *CPU, _ *isa.Inst) bool { return c.gp(0) }

func hHlt(c *CPU, _ *isa.Inst) bool {
	c.MonArmed = false
	return c.halt()
}

func (c *CPU) halt() bool {
	c.Activity = Halted
	c.event, c.yield = true, true
	return true
}

// Who may change IF: by IOPL, or through VIF with CR4.PVI or CR4.VME
// [SDM 2 CLI, STI].
const (
	ifReal = iota
	ifVirtual
	ifDenied
)

func (c *CPU) ifAccess() int {
	switch {
	case uint64(c.CPL) <= c.RFLAGS&flagIOPL>>12:
		return ifReal
	case c.vm86() && c.CR4&cr4VME != 0, !c.vm86() && c.CPL == 3 && c.CR4&cr4PVI != 0:
		return ifVirtual
	}
	return ifDenied
}

func hCli(c *CPU, _ *isa.Inst) bool {
	switch c.ifAccess() {
	case ifReal:
		c.RFLAGS &^= flagIF
	case ifVirtual:
		c.RFLAGS &^= flagVIF
	default:
		return c.gp(0)
	}
	return true
}

// unmasked ends the run where something waits for the change of a mask.
func (c *CPU) unmasked() { c.event = c.event || c.intr || c.NMIPending }

// hSti lets one more instruction pass before interrupts when it sets IF.
func hSti(c *CPU, _ *isa.Inst) bool {
	switch c.ifAccess() {
	case ifReal:
		if c.RFLAGS&flagIF == 0 {
			c.Shadow = 2
		}
		c.RFLAGS |= flagIF
		c.unmasked()
	case ifVirtual:
		if c.RFLAGS&flagVIP != 0 {
			return c.gp(0)
		}
		c.RFLAGS |= flagVIF
	default:
		return c.gp(0)
	}
	return true
}

// hPushf never shows RF and VM. In virtual-8086 mode below IOPL 3 it shows VIF
// as IF, if VME allows it at all [SDM 2 PUSHF].
func hPushf(c *CPU, in *isa.Inst) bool {
	c.materialize()
	f := c.RFLAGS &^ (flagRF | flagVM)
	if c.vm86() && c.RFLAGS&flagIOPL != flagIOPL {
		if c.CR4&cr4VME == 0 || in.OpSize != 2 {
			return c.gp(0)
		}
		f = f&^flagIF | f&flagVIF>>10 | flagIOPL
	}
	return c.push(int(in.OpSize), f)
}

// hPopf [SDM 2 POPF].
func hPopf(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	v, ok := c.top(0, size)
	if !ok {
		return false
	}
	mask := uint64(flagsUser)
	if c.vm86() {
		if c.RFLAGS&flagIOPL != flagIOPL {
			if c.CR4&cr4VME == 0 || size != 2 || !c.vmeFlagsAllowed(v) {
				return c.gp(0)
			}
			c.setVMEFlags(v)
			c.setSP(c.R[RSP] + 2)
			return true
		}
		mask |= flagIF
	} else {
		if c.CPL == 0 {
			mask |= flagIOPL
		}
		if uint64(c.CPL) <= c.RFLAGS&flagIOPL>>12 {
			mask |= flagIF
		}
	}
	if size == 2 {
		mask &= 0xffff
	}
	c.setFlags(mask, v)
	c.setSP(c.R[RSP] + uint64(size))
	c.changed()
	c.unmasked()
	return true
}

func hLahf(c *CPU, in *isa.Inst) bool {
	c.materialize()
	c.R[RAX] = c.R[RAX]&^0xff00 | (c.RFLAGS&0xd5|flagsFixed)<<8
	return true
}

func hSahf(c *CPU, _ *isa.Inst) bool {
	c.setFlags(0xd5, c.R[RAX]>>8)
	return true
}

func hClac(c *CPU, _ *isa.Inst) bool { return c.setAC(0) }
func hStac(c *CPU, _ *isa.Inst) bool { return c.setAC(flagAC) }

func (c *CPU) setAC(v uint64) bool {
	if c.CPL != 0 {
		return c.ud()
	}
	c.RFLAGS = c.RFLAGS&^flagAC | v
	c.changed()
	return true
}

func flagOp(mask, v uint64) handler {
	return func(c *CPU, _ *isa.Inst) bool {
		c.setFlags(mask, v)
		return true
	}
}

func hCmc(c *CPU, _ *isa.Inst) bool {
	c.materialize()
	c.RFLAGS ^= flagCF
	return true
}

// ioAllowed checks IOPL and the I/O permission bitmap for size ports from port
// on [SDM 1 20.5].
func (c *CPU) ioAllowed(port uint16, size int) bool {
	if c.realMode() || !c.vm86() && uint64(c.CPL) <= c.RFLAGS&flagIOPL>>12 {
		return true
	}
	if c.TR.Attr&segP == 0 || c.TR.Attr&0xd != 9 || c.TR.Limit < tssIOMap+1 {
		return c.gp(0)
	}
	base, ok := c.sysRead(c.TR.Base+tssIOMap, 2)
	if !ok {
		return false
	}
	at := base + uint64(port>>3)
	if at+1 > uint64(c.TR.Limit) {
		return c.gp(0)
	}
	bits, ok := c.sysRead(c.TR.Base+at, 2)
	if !ok {
		return false
	}
	if bits>>(port&7)&(1<<size-1) != 0 {
		return c.gp(0)
	}
	return true
}

func hIn(c *CPU, in *isa.Inst) bool {
	p, ok := c.arg(in, 1)
	port, size := uint16(p), in.ArgSize(0)
	if !ok || !c.ioAllowed(port, size) {
		return false
	}
	c.event = true
	c.portBreak(port, size)
	c.setReg(in, RAX, size, uint64(c.bus.In(port, size)))
	return true
}

func hOut(c *CPU, in *isa.Inst) bool {
	p, ok := c.arg(in, 0)
	port, size := uint16(p), in.ArgSize(1)
	if !ok || !c.ioAllowed(port, size) {
		return false
	}
	c.event = true
	c.portBreak(port, size)
	c.bus.Out(port, size, uint32(c.reg(in, RAX, size)))
	return true
}

// hInvlpg does nothing else than #UD for the register form: TLB entries never
// outlive the tables they came from.
func hInvlpg(c *CPU, in *isa.Inst) bool { return true }

// hInvpcid checks its operands only, for the same reason [SDM 2 INVPCID].
func hInvpcid(c *CPU, in *isa.Inst) bool {
	kind := c.reg(in, in.Reg, int(in.OpSize))
	ea := c.ea(in)
	lo, ok := c.load(in.Seg, ea, 8)
	if !ok {
		return false
	}
	addr, ok := c.load(in.Seg, (ea+8)&addrMask(in.AddrSize), 8)
	if !ok {
		return false
	}
	switch {
	case kind > 3:
	case kind < 2 && lo>>12 != 0:
	case kind < 2 && lo != 0 && c.CR4&cr4PCIDE == 0:
	case kind == 0 && !c.canonicalBase(addr):
	default:
		return true
	}
	return c.gp(0)
}

// hRdrand draws from the machine's generator, which never runs dry: CF is
// always 1 [SDM 2 RDRAND].
func hRdrand(c *CPU, in *isa.Inst) bool {
	c.setReg(in, in.RM, int(in.OpSize), c.bus.Rand())
	c.setStatus(flagCF)
	return true
}

func hXgetbv(c *CPU, _ *isa.Inst) bool {
	if c.CR4&cr4OSXSAVE == 0 {
		return c.ud()
	}
	switch uint32(c.R[RCX]) {
	case 0:
		c.setEDXEAX(c.XCR0)
	case 1: // components in use that XSAVEC would not leave out [SDM 1 13.2]
		c.setEDXEAX(c.XCR0 & c.xinuse())
	default:
		return c.gp(0)
	}
	return true
}

func hXsetbv(c *CPU, _ *isa.Inst) bool {
	if c.CR4&cr4OSXSAVE == 0 {
		return c.ud()
	}
	v := c.edxEAX()
	if c.CPL != 0 || uint32(c.R[RCX]) != 0 || v&^c.model.xcr0 != 0 || v&xX87 == 0 || v&(xSSE|xAVX) == xAVX {
		return c.gp(0)
	}
	c.XCR0 = v
	return true
}

func hRdpkru(c *CPU, _ *isa.Inst) bool {
	if c.CR4&cr4PKE == 0 {
		return c.ud()
	}
	if uint32(c.R[RCX]) != 0 {
		return c.gp(0)
	}
	c.setEDXEAX(uint64(c.PKRU))
	return true
}

func hWrpkru(c *CPU, _ *isa.Inst) bool {
	if c.CR4&cr4PKE == 0 {
		return c.ud()
	}
	if uint32(c.R[RCX]) != 0 || uint32(c.R[RDX]) != 0 {
		return c.gp(0)
	}
	if v := uint32(c.R[RAX]); v != c.PKRU {
		c.PKRU = v
		c.FlushTLB()
	}
	return true
}
