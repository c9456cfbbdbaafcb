package cpu

import "godwit/cpu/isa"

// This file is XSAVE's family; the components within FXSAVE's image are those of
// fpustate.go.

// xLegacy are the components that have something before the header in the standard
// form: MXCSR is both SSE's and AVX's.
const xLegacy = xX87 | xSSE | xAVX

// xpart is an extended state component of the XSAVE area.
type xpart struct {
	bit       uint
	size, off uint32 // off: in the standard form
}

var xparts = [...]xpart{{2, 256, 576}, {9, 8, 832}}

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

// area checks an image of XSAVE for access as a whole, so that nothing after it
// can fault: its alignment, its first line, the rest. legacy tells that anything
// before the header is accessed.
func (c *CPU) area(in *isa.Inst, legacy bool, size uint32, acc int) (uint64, bool) {
	if !c.amd {
		return c.intelArea(in, legacy, size, acc)
	}
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
	used := c.xinuse()
	write := rfbm
	if in.Op == isa.XSAVEOPT {
		write &= used
	}
	la, ok := c.area(in, rfbm&xLegacy != 0, xsaveSize(rfbm), accWrite)
	if !ok {
		return false
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
	used := c.xinuse()
	if c.MXCSR != mxcsrReset {
		used |= xSSE
	}
	used &= rfbm
	la, ok := c.area(in, used&(xX87|xSSE) != 0, compactSize(rfbm), accWrite)
	if !ok {
		return false
	}
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
	la, ok := c.area(in, true, extOff, accRead)
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
	if la, ok = c.area(in, true, size, accRead); !ok {
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
	c.loadMXCSR(loads, uint32(mxcsr), rfbm)
	c.loadParts(la, in, rfbm, bv, comp)
	return true
}

// loadMXCSR is XRSTOR's: with SSE asked for but not there, MXCSR takes its initial
// value.
func (c *CPU) loadMXCSR(loads bool, v uint32, rfbm uint64) {
	if loads {
		c.MXCSR = v
	} else if rfbm&xSSE != 0 {
		c.MXCSR = mxcsrReset
	}
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
