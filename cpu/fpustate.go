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

// xpart is an extended state component of the XSAVE area.
type xpart struct {
	bit       uint
	size, off uint32 // off: in the standard form
}

var xparts = [...]xpart{{2, 256, 576}, {9, 8, 832}}

func init() {
	register(map[isa.Op]handler{
		isa.FXSAVE: hFxsave, isa.FXRSTOR: hFxrstor,
		isa.XSAVE: hXsave, isa.XSAVEOPT: hXsave, isa.XSAVEC: hXsavec, isa.XRSTOR: hXrstor,
		isa.FNINIT: hFninit, isa.FNCLEX: hFnclex, isa.FNSTCW: hFnstcw, isa.FLDCW: hFldcw,
		isa.FNSTSW: hFnstsw, isa.FWAIT: hFwait, isa.EMMS: hEmms,
		isa.LDMXCSR: hLdmxcsr, isa.STMXCSR: hStmxcsr,
	})
}

// xsaveSize is the size of an XSAVE area in standard form.
func xsaveSize(rfbm uint64) uint32 {
	n := uint32(extOff)
	for i := range xparts {
		if p := &xparts[i]; rfbm>>p.bit&1 != 0 {
			n = p.off + p.size
		}
	}
	return n
}

// compactSize is the size of an XSAVE area in compacted form.
func compactSize(rfbm uint64) uint32 {
	n := uint32(extOff)
	for i := range xparts {
		if p := &xparts[i]; rfbm>>p.bit&1 != 0 {
			n += p.size
		}
	}
	return n
}

// compactEnd is the size of what XRSTOR loads of an area in compacted form.
func compactEnd(comp, loads uint64) uint32 {
	end, n := uint32(extOff), uint32(extOff)
	for i := range xparts {
		p := &xparts[i]
		if comp>>p.bit&1 != 0 {
			n += p.size
		}
		if loads>>p.bit&1 != 0 {
			end = n
		}
	}
	return end
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

// area checks an image of XSAVE for access as a whole, so that nothing after it
// can fault: its alignment, its first line, the rest.
func (c *CPU) area(in *isa.Inst, size uint32, acc int) (uint64, bool) {
	const line = 64
	ea := c.ea(in)
	la := ea
	if c.mode != isa.Mode64 || in.Seg >= isa.FS {
		la += c.Seg[in.Seg].Base
	}
	if la%line != 0 {
		return 0, c.gp(0)
	}
	la, ok := c.linear(in.Seg, ea, line, acc)
	if !ok || !c.probe(la, line, acc, c.mmu) {
		return 0, false
	}
	if _, ok = c.linear(in.Seg, ea, int(size), acc); !ok {
		return 0, false
	}
	return la, c.probe(la, int(size), acc, c.mmu)
}

// legacyArea does so for an image of FXSAVE: its first bytes, alignment, its last
// byte, which may be around the end of the address space.
func (c *CPU) legacyArea(in *isa.Inst, acc int) (uint64, bool) {
	ea := c.ea(in)
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
	c.FIP, c.FDP = c.pointer(c.FIP), c.pointer(c.FDP)
	c.summarizeX87()
	top := uint64(c.FSW >> 11)
	for i := uint64(0); i < 8; i++ {
		c.ST[(top+i)&7] = F80{Mant: c.peek(la+32+16*i, 8), SE: uint16(c.peek(la+40+16*i, 2))}
	}
}

// pointer is an address as the pointers keep it.
func (c *CPU) pointer(v uint64) uint64 {
	if c.CR4&cr4LA57 != 0 {
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

// xsaveOn checks CR4.OSXSAVE and CR0.TS and gives the requested features.
func (c *CPU) xsaveOn() (rfbm uint64, ok bool) {
	if c.CR4&cr4OSXSAVE == 0 {
		return 0, c.ud()
	}
	if c.CR0&cr0TS != 0 {
		return 0, c.raise(vecNM)
	}
	return c.edxEAX() & c.XCR0, true
}

// xinuse tells which components are not in their initial state [SDM 1 13.6].
func (c *CPU) xinuse() uint64 {
	var u uint64
	if c.FCW != fcwInit || c.FSW != 0 || c.FTW != 0 || c.FOP != 0 || c.FIP|c.FDP != 0 || c.FCS|c.FDS != 0 || c.ST != [8]F80{} {
		u |= xX87
	}
	for i := range c.V[:c.xmmCount()] {
		v := &c.V[i]
		if v[0]|v[1] != 0 {
			u |= xSSE
		}
		if v[2]|v[3] != 0 {
			u |= xAVX
		}
	}
	if c.PKRU != 0 {
		u |= xPKRU
	}
	return u
}

// savePart writes one extended component.
func (c *CPU) savePart(bit uint, la uint64) {
	if bit == 9 {
		c.poke(la, 8, uint64(c.PKRU))
		return
	}
	for i := 0; i < c.xmmCount(); i++ {
		c.poke(la+16*uint64(i), 8, c.V[i][2])
		c.poke(la+16*uint64(i)+8, 8, c.V[i][3])
	}
}

// loadPart reads one extended component; one that is not present takes its
// initial state.
func (c *CPU) loadPart(bit uint, la uint64, present bool) {
	at := func(off uint64) uint64 {
		if !present {
			return 0
		}
		return c.peek(la+off, 8)
	}
	if bit == 9 {
		if v := uint32(at(0)); v != c.PKRU {
			c.PKRU = v
			c.FlushTLB()
		}
		return
	}
	for i := 0; i < c.xmmCount(); i++ {
		c.V[i][2], c.V[i][3] = at(16*uint64(i)), at(16*uint64(i)+8)
	}
}

// hXsave is XSAVE and XSAVEOPT, which leaves out components in their initial
// state [SDM 1 13.7, 13.9].
func hXsave(c *CPU, in *isa.Inst) bool {
	rfbm, ok := c.xsaveOn()
	if !ok {
		return false
	}
	la, ok := c.area(in, xsaveSize(rfbm), accWrite)
	if !ok {
		return false
	}
	used := c.xinuse()
	write := rfbm
	if in.Op == isa.XSAVEOPT {
		write &= used
	}
	c.saveLegacy(la, in, write, rfbm&(xSSE|xAVX) != 0)
	for i := range xparts {
		if p := &xparts[i]; write>>p.bit&1 != 0 {
			c.savePart(p.bit, la+uint64(p.off))
		}
	}
	bv := c.peek(la+headerOff, 8)
	c.poke(la+headerOff, 8, bv&^rfbm|used&rfbm)
	return true
}

// saveLegacy writes the components within FXSAVE's image.
func (c *CPU) saveLegacy(la uint64, in *isa.Inst, write uint64, mxcsr bool) {
	if write&xX87 != 0 {
		c.saveX87(la, in)
	}
	if mxcsr {
		c.saveMXCSR(la)
	}
	if write&xSSE != 0 {
		c.saveXMM(la)
	}
}

// hXsavec writes the compacted form [SDM 1 13.10]. An unusual MXCSR makes SSE
// state count as used.
func hXsavec(c *CPU, in *isa.Inst) bool {
	rfbm, ok := c.xsaveOn()
	if !ok {
		return false
	}
	la, ok := c.area(in, compactSize(rfbm), accWrite)
	if !ok {
		return false
	}
	used := c.xinuse()
	if c.MXCSR != mxcsrReset {
		used |= xSSE
	}
	used &= rfbm
	c.saveLegacy(la, in, used, used&xSSE != 0)
	at := la + extOff
	for i := range xparts {
		p := &xparts[i]
		if used>>p.bit&1 != 0 {
			c.savePart(p.bit, at)
		}
		if rfbm>>p.bit&1 != 0 {
			at += uint64(p.size)
		}
	}
	c.poke(la+headerOff, 8, used)
	c.poke(la+headerOff+8, 8, rfbm|compacted)
	return true
}

func hXrstor(c *CPU, in *isa.Inst) bool {
	rfbm, ok := c.xsaveOn()
	if !ok {
		return false
	}
	la, ok := c.area(in, extOff, accRead)
	if !ok {
		return false
	}
	bv, comp, ok := c.xheader(la)
	if !ok {
		return false
	}
	size := xsaveSize(rfbm)
	if comp != 0 {
		size = compactEnd(comp, rfbm&bv)
	}
	if la, ok = c.area(in, size, accRead); !ok {
		return false
	}
	mxcsr := c.peek(la+24, 4)
	loads := rfbm&(xSSE|xAVX) != 0
	if comp != 0 {
		loads = rfbm&bv&xSSE != 0
	}
	if loads && mxcsr&^mxcsrMask != 0 {
		return c.gp(0)
	}
	if loads {
		c.MXCSR = uint32(mxcsr)
	} else if rfbm&xSSE != 0 {
		c.MXCSR = mxcsrReset
	}
	c.loadParts(la, in, rfbm, bv, comp)
	return true
}

// xheader checks the header of an XSAVE area [SDM 1 13.8].
func (c *CPU) xheader(la uint64) (bv, comp uint64, ok bool) {
	bv, comp = c.peek(la+headerOff, 8), c.peek(la+headerOff+8, 8)
	rest := c.peek(la+headerOff+16, 8)
	bad := bv&^c.XCR0 != 0 || rest != 0
	if comp&compacted != 0 {
		set := comp &^ compacted
		bad = bad || set&^c.XCR0 != 0 || bv&^set != 0 || !c.model.on["xsavec"]
		for off := uint64(24); off < 64; off += 8 {
			bad = bad || c.peek(la+headerOff+off, 8) != 0
		}
	} else {
		bad = bad || comp != 0
	}
	if bad {
		return 0, 0, c.gp(0)
	}
	return bv, comp, true
}

// loadParts loads the components of rfbm that bv has, and initialises the rest.
func (c *CPU) loadParts(la uint64, in *isa.Inst, rfbm, bv, comp uint64) {
	if rfbm&xX87 != 0 {
		if bv&xX87 != 0 {
			c.loadX87(la, in)
		} else {
			c.initX87()
			c.ST = [8]F80{}
		}
	}
	if rfbm&xSSE != 0 {
		if bv&xSSE != 0 {
			c.loadXMM(la)
		} else {
			for i := range c.V[:c.xmmCount()] {
				c.V[i][0], c.V[i][1] = 0, 0
			}
		}
	}
	next := la + extOff
	for i := range xparts {
		p := &xparts[i]
		at := la + uint64(p.off)
		if comp != 0 {
			at = next
			if comp>>p.bit&1 != 0 {
				next += uint64(p.size)
			}
		}
		if rfbm>>p.bit&1 != 0 {
			c.loadPart(p.bit, at, bv>>p.bit&1 != 0)
		}
	}
}
