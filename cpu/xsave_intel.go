package cpu

import "godwit/cpu/isa"

// Images of FXSAVE and XSAVE as Intel's processors access them; xsave.go and
// fpustate.go have AMD's way.

// intelImage looks at where an image begins: whether the segment holds that, at
// alignment by 4 with alignment checking on, and at the image's own.
func (c *CPU) intelImage(in *isa.Inst, align uint64) bool {
	n := 4
	if c.mode == isa.Mode64 {
		n = 1
	}
	la, ok := c.linear(in.Seg, c.ea(in), n, accRead)
	return ok && c.aligned(la, 4) && (la%align == 0 || c.gp(0))
}

// intelArea is area: the addresses come before memory, and nothing before the
// header is looked at unless legacy says so.
func (c *CPU) intelArea(in *isa.Inst, legacy bool, size uint32, acc int) (uint64, bool) {
	if !c.intelImage(in, 64) {
		return 0, false
	}
	la, ok := c.linear(in.Seg, c.ea(in), int(size), acc)
	if !ok {
		return 0, false
	}
	from := uint64(headerOff)
	if legacy {
		from = 0
	}
	return la, c.probe(la+from, int(size)-int(from), acc, c.mmu)
}

// intelXrstor is XRSTOR. The header comes first, then memory of whatever is asked
// for, in a compacted form of what that is said to hold, present or not. Only
// then does anything else that is wrong with the header count, and MXCSR at last.
func intelXrstor(c *CPU, in *isa.Inst) bool {
	rfbm, ok := c.xsaveOn()
	if !ok {
		return false
	}
	la, ok := c.area(in, false, extOff, accRead)
	if !ok {
		return false
	}
	size, legacy := xsaveSize(rfbm), rfbm&xLegacy != 0
	if comp := c.peek(la+headerOff+8, 8); comp&compacted != 0 {
		if comp&^(compacted|c.XCR0) != 0 {
			return c.gp(0)
		}
		size, legacy = compactEnd(comp, rfbm), rfbm&comp&(xX87|xSSE) != 0
	}
	if _, ok = c.area(in, legacy, size, accRead); !ok {
		return false
	}
	bv, comp, ok := c.xheader(la)
	if !ok {
		return false
	}
	loads := rfbm&(xSSE|xAVX) != 0
	if comp != 0 {
		loads = rfbm&bv&xSSE != 0
	}
	mxcsr := uint32(0)
	if loads {
		mxcsr = uint32(c.peek(la+24, 4))
	}
	if mxcsr&^mxcsrMask != 0 {
		if comp != 0 {
			c.loadParts(la, in, rfbm&(xX87|xSSE), bv, comp)
		}
		return c.gp(0)
	}
	c.loadMXCSR(loads, mxcsr, rfbm)
	c.loadParts(la, in, rfbm, bv, comp)
	return true
}
