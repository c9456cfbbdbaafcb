package cpu

import "godwit/cpu/isa"

func init() {
	register(map[isa.Op]handler{
		isa.MOVS: repLine(sMovs), isa.STOS: repLine(sStos), isa.LODS: rep(sLods),
		isa.SCAS: rep(sScas), isa.CMPS: rep(sCmps), isa.INS: rep(sIns), isa.OUTS: rep(sOuts),
	})
}

// rep makes a string instruction of its one-element step. With a REP prefix one
// execution is one iteration: RIP stays while iterations are left, so that
// interrupts, faults and counts fall between elements [SDM 2 REP].
func rep(step handler) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if in.Flags&(isa.FlagRep|isa.FlagRepne) == 0 {
			return step(c, in)
		}
		n := c.R[RCX] & addrMask(in.AddrSize)
		if n == 0 {
			return c.noIterations(in)
		}
		if comparing(in.Op) {
			return c.repCompare(step, in, n)
		}
		if !step(c, in) {
			c.repFaults(in)
			return false
		}
		n--
		c.setReg(in, RCX, int(in.AddrSize), n)
		if n != 0 {
			c.nextRIP = c.RIP
		}
		return true
	}
}

// repLine is rep for MOVS and STOS, of which one execution, one count, is as many
// iterations as write to one line of the destination. It ends with the iteration
//
//   - after which rDI, as wide as addresses are, is in another line of 64 bytes,
//   - that is the instruction's last,
//   - that reached a device, which may have raised an interrupt,
//   - that began with TF set, or after which another debug trap is due,
//
// and before one that faults, which begins the next execution. Where memory
// refuses an access, all of the execution is taken back.
func repLine(step handler) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if in.Flags&(isa.FlagRep|isa.FlagRepne) == 0 {
			return step(c, in)
		}
		n := c.R[RCX] & addrMask(in.AddrSize)
		if n == 0 {
			return c.noIterations(in)
		}
		cx, si, di, event := c.R[RCX], c.R[RSI], c.R[RDI], c.event
		c.event = false
		left, ok := c.line(step, in, n)
		c.event = c.event || event
		if !ok {
			if c.stalled {
				c.R[RCX], c.R[RSI], c.R[RDI] = cx, si, di
			}
			c.repFaults(in)
			return false
		}
		if left != 0 {
			c.nextRIP = c.RIP
		}
		return true
	}
}

// lineBits is the size of repLine's lines.
const lineBits = 6

// line executes the iterations of one count, of n, and returns how many are left.
// False: the first of them faulted, or memory refused an access.
func (c *CPU) line(step handler, in *isa.Inst, n uint64) (left uint64, ok bool) {
	mask := addrMask(in.AddrSize)
	for left = n; ; {
		di, breaks := c.R[RDI]&mask, c.DBPending
		if !step(c, in) {
			c.DBPending = breaks
			return left, left < n && !c.stalled
		}
		left--
		c.setReg(in, RCX, int(in.AddrSize), left)
		if left == 0 || (di^c.R[RDI]&mask)>>lineBits != 0 || c.event || c.stepTF || c.DBPending != 0 {
			return left, true
		}
		if c.quick {
			if k, _ := c.stretch(in, left, 1); k != 0 {
				return left - k, true
			}
		}
	}
}

// repCompare is an iteration of CMPS or SCAS, n being left with it. On Intel's
// processors the flags change with the last one: a fault on the way finds them
// as they were [SDM 2 REP].
func (c *CPU) repCompare(step handler, in *isa.Inst, n uint64) bool {
	old := c.RFLAGS & flagsStatus
	if !step(c, in) {
		c.repFaults(in)
		return false
	}
	n--
	c.setReg(in, RCX, int(in.AddrSize), n)
	if n != 0 && !c.repEnds(in) {
		c.nextRIP = c.RIP
		if !c.amd {
			c.setStatus(old)
		}
	}
	return true
}

// noIterations is a REP with a count of zero; access to the port is checked even
// so.
func (c *CPU) noIterations(in *isa.Inst) bool {
	if in.Op == isa.INS || in.Op == isa.OUTS {
		if !c.ioAllowed(uint16(c.R[RDX]), strSize(in)) {
			return false
		}
	}
	c.narrow(in)
	return true
}

// repFaults is an iteration that faulted.
func (c *CPU) repFaults(in *isa.Inst) {
	if !c.stalled && in.Op != isa.INS && in.Op != isa.OUTS {
		c.narrow(in)
	}
}

// narrow: Intel's processors clear the upper halves of RCX, and of the addresses
// of MOVS and STOS, before the first iteration if ECX counts.
func (c *CPU) narrow(in *isa.Inst) {
	if c.amd || in.AddrSize != 4 {
		return
	}
	c.R[RCX] &= 0xffffffff
	if in.Op == isa.MOVS || in.Op == isa.STOS {
		c.R[RDI] &= 0xffffffff
	}
	if in.Op == isa.MOVS {
		c.R[RSI] &= 0xffffffff
	}
}

func comparing(op isa.Op) bool { return op == isa.SCAS || op == isa.CMPS }

// repEnds tells whether ZF ends REPE or REPNE.
func (c *CPU) repEnds(in *isa.Inst) bool {
	zf := c.RFLAGS&flagZF != 0
	return zf == (in.Flags&isa.FlagRepne != 0)
}

// advance moves an index register by one element in the direction of DF.
func (c *CPU) advance(in *isa.Inst, r uint8, size int) {
	by := uint64(size)
	if c.RFLAGS&flagDF != 0 {
		by = -by
	}
	c.setReg(in, r, int(in.AddrSize), c.R[r]+by)
}

func (c *CPU) index(in *isa.Inst, r uint8) uint64 { return c.R[r] & addrMask(in.AddrSize) }

// strSize is the element's size: that of the memory operand.
func strSize(in *isa.Inst) int {
	if in.Op == isa.OUTS {
		return in.ArgSize(1)
	}
	return in.ArgSize(0)
}

func sMovs(c *CPU, in *isa.Inst) bool {
	size := strSize(in)
	if !c.bothReady(in, size) {
		return false
	}
	v, ok := c.load(in.Seg, c.index(in, RSI), size)
	if !ok || !c.store(isa.ES, c.index(in, RDI), size, v) {
		return false
	}
	c.advance(in, RSI, size)
	c.advance(in, RDI, size)
	return true
}

// bothReady checks the operands of MOVS in the order in which they are accessed.
// Why: a source that is a device must not be read before the store is certain.
func (c *CPU) bothReady(in *isa.Inst, size int) bool {
	la, ok := c.linear(in.Seg, c.index(in, RSI), size, accRead)
	if !ok || !c.aligned(la, size) {
		return false
	}
	if la-c.tlb[c.mmu].slot(la).r <= uint64(4096-size) {
		return true // memory
	}
	if !c.probe(la, size, accRead, c.mmu) {
		return false
	}
	_, ok = c.dstMem(isa.ES, c.index(in, RDI), size)
	return ok
}

func sStos(c *CPU, in *isa.Inst) bool {
	size := strSize(in)
	if !c.store(isa.ES, c.index(in, RDI), size, c.R[RAX]) {
		return false
	}
	c.advance(in, RDI, size)
	return true
}

func sLods(c *CPU, in *isa.Inst) bool {
	size := strSize(in)
	v, ok := c.load(in.Seg, c.index(in, RSI), size)
	if !ok {
		return false
	}
	c.setReg(in, RAX, size, v)
	c.advance(in, RSI, size)
	return true
}

func sScas(c *CPU, in *isa.Inst) bool {
	size := strSize(in)
	v, ok := c.load(isa.ES, c.index(in, RDI), size)
	if !ok {
		return false
	}
	c.setStatus(flagsOf(lzSub|sizeCode(size), c.R[RAX]&sizeMask(size), v))
	c.advance(in, RDI, size)
	return true
}

func sCmps(c *CPU, in *isa.Inst) bool {
	size := strSize(in)
	a, b, ok := c.compared(in, size)
	if !ok {
		return false
	}
	c.setStatus(flagsOf(lzSub|sizeCode(size), a, b))
	c.advance(in, RSI, size)
	c.advance(in, RDI, size)
	return true
}

// compared reads the operands of CMPS. What is read first shows in faults: it is
// that at rDI, but in AMD's REPE CMPSB that at rSI.
func (c *CPU) compared(in *isa.Inst, size int) (a, b uint64, ok bool) {
	source := size == 1 && in.Flags&isa.FlagRep != 0 && c.amd
	if source {
		a, ok = c.load(in.Seg, c.index(in, RSI), size)
		if !ok {
			return 0, 0, false
		}
	}
	b, ok = c.load(isa.ES, c.index(in, RDI), size)
	if ok && !source {
		a, ok = c.load(in.Seg, c.index(in, RSI), size)
	}
	return a, b, ok
}

// sIns checks the destination before it reads the port: a read has effects.
func sIns(c *CPU, in *isa.Inst) bool {
	size := strSize(in)
	port := uint16(c.R[RDX])
	if !c.ioAllowed(port, size) {
		return false
	}
	d, ok := c.dstMem(isa.ES, c.index(in, RDI), size)
	if !ok {
		return false
	}
	c.event = true
	c.portBreak(port, size)
	c.put(in, d, uint64(c.bus.In(port, size)))
	c.advance(in, RDI, size)
	return true
}

func sOuts(c *CPU, in *isa.Inst) bool {
	size := strSize(in)
	port := uint16(c.R[RDX])
	if !c.ioAllowed(port, size) {
		return false
	}
	v, ok := c.load(in.Seg, c.index(in, RSI), size)
	if !ok {
		return false
	}
	c.event = true
	c.portBreak(port, size)
	c.bus.Out(port, size, uint32(v))
	c.advance(in, RSI, size)
	return true
}
