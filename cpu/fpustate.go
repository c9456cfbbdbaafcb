package cpu

import "godwit/cpu/isa"

// XCR0 bits [SDM 3A 2.6].
const (
	xX87  = 1 << 0
	xSSE  = 1 << 1
	xAVX  = 1 << 2
	xPKRU = 1 << 9
)

const (
	fcwInit    = 0x037f
	fcwFixed   = 0x0040 // reads as 1
	fcwMask    = 0x1f3f
	fswErrors  = 0x003f
	fswSummary = 0x8080 // ES and B
	mxcsrReset = 0x1f80
	mxcsrMask  = 0xffff

	legacySize = 512 // FXSAVE's image, the start of XSAVE's
	headerOff  = 512 // XSTATE_BV, XCOMP_BV
	extOff     = 576 // where extended components begin
	compacted  = 1 << 63
)

func init() {
	register(map[isa.Op]handler{
		isa.FXSAVE: hFxsave, isa.FXRSTOR: hFxrstor,
		isa.XSAVE: hXsave, isa.XSAVEOPT: hXsave, isa.XSAVEC: hXsavec, isa.XRSTOR: byVendor(hXrstor, intelXrstor),
		isa.FNINIT: hFninit, isa.FNCLEX: hFnclex, isa.FNSTCW: hFnstcw, isa.FLDCW: hFldcw,
		isa.FNSTSW: hFnstsw, isa.FWAIT: hFwait, isa.EMMS: hEmms,
		isa.LDMXCSR: hLdmxcsr, isa.STMXCSR: hStmxcsr,
	})
}

// fpuOn checks CR0.EM and CR0.TS for x87 instructions.
func (c *CPU) fpuOn() bool {
	return c.CR0&(cr0EM|cr0TS) == 0 || c.raise(vecNM)
}

// pendingX87 raises #MF for an unmasked exception of an earlier instruction.
// With CR0.NE clear it would be signalled outside the processor: not modelled.
func (c *CPU) pendingX87() bool {
	return c.FSW&0x80 == 0 || c.CR0&cr0NE == 0 || c.raise(vecMF)
}

// useFPU is the check that opens every waiting x87 instruction [SDM 3A 2.5].
func (c *CPU) useFPU() bool { return c.fpuOn() && c.pendingX87() }

// useMMX is the check that opens every MMX instruction.
func (c *CPU) useMMX() bool {
	if c.CR0&cr0EM != 0 {
		return c.ud()
	}
	return c.fpuOn() && c.pendingX87()
}

// useSSE is the check that opens every SSE instruction.
func (c *CPU) useSSE() bool {
	if c.CR0&cr0EM != 0 || c.CR4&cr4OSFXSR == 0 {
		return c.ud()
	}
	return c.fpuOn()
}

func hFninit(c *CPU, _ *isa.Inst) bool {
	if !c.fpuOn() {
		return false
	}
	c.initX87()
	return true
}

// initX87 is the state after FNINIT; registers keep their values, tagged empty.
func (c *CPU) initX87() {
	c.FCW, c.FSW, c.FTW, c.FOP = fcwInit, 0, 0, 0
	c.FIP, c.FCS, c.FDP, c.FDS = 0, 0, 0, 0
}

func hFnclex(c *CPU, _ *isa.Inst) bool {
	if !c.fpuOn() {
		return false
	}
	c.FSW &= 0x7f00
	return true
}

func hFnstcw(c *CPU, in *isa.Inst) bool { return c.fpuOn() && c.setArg(in, 0, uint64(c.FCW)) }

func hFnstsw(c *CPU, in *isa.Inst) bool { return c.fpuOn() && c.setArg(in, 0, uint64(c.FSW)) }

func hFldcw(c *CPU, in *isa.Inst) bool {
	if !c.useFPU() {
		return false
	}
	v, ok := c.arg(in, 0)
	if ok {
		c.FCW = uint16(v)&fcwMask | fcwFixed
		c.summarizeX87()
	}
	return ok
}

// summarizeX87 sets ES and B from exceptions and masks [SDM 1 8.1.3.3].
func (c *CPU) summarizeX87() {
	c.FSW &^= fswSummary
	if c.FSW&^c.FCW&fswErrors != 0 {
		c.FSW |= fswSummary
	}
}

func hFwait(c *CPU, _ *isa.Inst) bool {
	if c.CR0&(cr0MP|cr0TS) == cr0MP|cr0TS {
		return c.raise(vecNM)
	}
	return c.pendingX87()
}

func hEmms(c *CPU, _ *isa.Inst) bool {
	if !c.useMMX() {
		return false
	}
	c.FTW = 0
	if c.model.amd() {
		c.FSW &^= 7 << 11 // Intel's processors keep the top of the stack
	}
	return true
}

func hLdmxcsr(c *CPU, in *isa.Inst) bool {
	if !c.useSSE() {
		return false
	}
	v, ok := c.arg(in, 0)
	if !ok {
		return false
	}
	if v&^mxcsrMask != 0 {
		return c.gp(0)
	}
	c.MXCSR = uint32(v)
	return true
}

func hStmxcsr(c *CPU, in *isa.Inst) bool { return c.useSSE() && c.setArg(in, 0, uint64(c.MXCSR)) }

// legacyArea checks an image of FXSAVE for access, so that nothing after it can
// fault: its first bytes, alignment, its last byte, which may be around the end
// of the address space.
func (c *CPU) legacyArea(in *isa.Inst, acc int) (uint64, bool) {
	ea := c.ea(in)
	if !c.amd && !c.intelImage(in, 16) {
		return 0, false
	}
	la, ok := c.linear(in.Seg, ea, 4, acc)
	if !ok {
		return 0, false
	}
	if la%16 != 0 {
		return 0, c.gp(0)
	}
	last, ok := c.linear(in.Seg, (ea+legacySize-1)&addrMask(in.AddrSize), 1, acc)
	return la, ok && c.probe(la, 16, acc, c.mmu) && c.probe(last, 1, acc, c.mmu)
}

// peek and poke access a checked image.
func (c *CPU) peek(la uint64, size int) uint64 {
	v, _ := c.readLin(la, size, c.mmu)
	return v
}

func (c *CPU) poke(la uint64, size int, v uint64) { c.writeLin(la, size, v, c.mmu) }

// xmmCount is how many XMM registers the mode has.
func (c *CPU) xmmCount() int {
	if c.mode == isa.Mode64 {
		return 16
	}
	return 8
}

func hFxsave(c *CPU, in *isa.Inst) bool {
	if !c.fpuOn() {
		return false
	}
	la, ok := c.legacyArea(in, accWrite)
	if !ok {
		return false
	}
	c.saveX87(la, in)
	c.saveMXCSR(la)
	c.saveXMM(la)
	return true
}

func hFxrstor(c *CPU, in *isa.Inst) bool {
	if !c.fpuOn() {
		return false
	}
	la, ok := c.legacyArea(in, accRead)
	if !ok {
		return false
	}
	mxcsr := c.peek(la+24, 4)
	if mxcsr&^mxcsrMask != 0 {
		return c.gp(0)
	}
	c.loadX87(la, in)
	c.MXCSR = uint32(mxcsr)
	c.loadXMM(la)
	return true
}

// saveX87 writes the x87 part of the image [SDM 1 10.5.1]: registers in stack
// order, pointers as 64-bit offsets with REX.W.
func (c *CPU) saveX87(la uint64, in *isa.Inst) {
	fop, fip, fdp := c.FOP, c.FIP, c.FDP
	if in.OpSize != 8 {
		fip = fip&0xffffffff | uint64(c.FCS)<<32
		fdp = fdp&0xffffffff | uint64(c.FDS)<<32
	}
	if c.model.amd() && c.FSW&fswSummary == 0 {
		fop, fip, fdp = 0, 0, 0 // AMD saves them only for a pending exception [APM 2 11.4.4]
	}
	c.poke(la, 8, uint64(c.FCW)|uint64(c.FSW)<<16|uint64(c.FTW)<<32|uint64(fop)<<48)
	c.poke(la+8, 8, fip)
	c.poke(la+16, 8, fdp)
	top := uint64(c.FSW >> 11)
	for i := uint64(0); i < 8; i++ {
		r := &c.ST[(top+i)&7]
		c.poke(la+32+16*i, 8, r.Mant)
		c.poke(la+40+16*i, 8, uint64(r.SE))
	}
}

func (c *CPU) loadX87(la uint64, in *isa.Inst) {
	v := c.peek(la, 8)
	c.FCW, c.FSW, c.FTW, c.FOP = uint16(v)&fcwMask|fcwFixed, uint16(v>>16), uint8(v>>32), uint16(v>>48)&0x7ff
	c.FIP, c.FDP = c.peek(la+8, 8), c.peek(la+16, 8)
	c.FCS, c.FDS = 0, 0
	if in.OpSize != 8 {
		c.FCS, c.FDS = uint16(c.FIP>>32), uint16(c.FDP>>32)
		c.FIP, c.FDP = c.FIP&0xffffffff, c.FDP&0xffffffff
	}
	c.FIP = c.pointer(c.FIP)
	if c.amd { // Intel's processors keep all of FDP
		c.FDP = c.pointer(c.FDP)
	}
	c.noSelectors()
	c.summarizeX87()
	top := uint64(c.FSW >> 11)
	for i := uint64(0); i < 8; i++ {
		c.ST[(top+i)&7] = F80{Mant: c.peek(la+32+16*i, 8), SE: uint16(c.peek(la+40+16*i, 2))}
	}
}

// noSelectors: Intel's newer processors have no FCS and FDS [SDM 1 8.1.8].
func (c *CPU) noSelectors() {
	if !c.amd {
		c.FCS, c.FDS = 0, 0
	}
}

// pointer is an address as the pointers keep it: as wide as linear addresses are,
// on Intel's processors as they can be.
func (c *CPU) pointer(v uint64) uint64 {
	if c.CR4&cr4LA57 != 0 || !c.amd && c.model.on["la57"] {
		return uint64(int64(v<<7) >> 7)
	}
	return uint64(int64(v<<16) >> 16)
}

func (c *CPU) saveMXCSR(la uint64) {
	c.poke(la+24, 8, uint64(c.MXCSR)|mxcsrMask<<32)
}

func (c *CPU) saveXMM(la uint64) {
	for i := 0; i < c.xmmCount(); i++ {
		at := la + 160 + 16*uint64(i)
		c.poke(at, 8, c.V[i][0])
		c.poke(at+8, 8, c.V[i][1])
	}
}

func (c *CPU) loadXMM(la uint64) {
	for i := 0; i < c.xmmCount(); i++ {
		at := la + 160 + 16*uint64(i)
		c.V[i][0], c.V[i][1] = c.peek(at, 8), c.peek(at+8, 8)
	}
}
