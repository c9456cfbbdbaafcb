package cpu

import "godwit/cpu/isa"

func init() {
	register(map[isa.Op]handler{
		isa.JMP: hJmp, isa.JCC: hJcc, isa.CALL: hCall, isa.RET: hRet,
		isa.JCXZ: hJcxz, isa.LOOP: hLoop, isa.LOOPE: hLoop, isa.LOOPNE: hLoop,
		isa.BOUND: hBound,
	})
}

// jump makes target the next instruction, if CS holds it.
func (c *CPU) jumpTo(target uint64, size uint8) bool {
	target &= addrMask(size)
	if c.mode == isa.Mode64 {
		if !c.canonical(target) {
			return c.gp(0)
		}
	} else if target > uint64(c.Seg[isa.CS].Limit) {
		return c.gp(0)
	}
	c.nextRIP = target
	return true
}

// target resolves the operand of a near branch.
func (c *CPU) target(in *isa.Inst) (uint64, bool) {
	if isa.Rows[in.Row].Args[0] == isa.ArgRel {
		return c.nextRIP + in.Imm, true
	}
	return c.arg(in, 0)
}

func hJmp(c *CPU, in *isa.Inst) bool {
	t, ok := c.target(in)
	return ok && c.jumpTo(t, in.OpSize)
}

func hJcc(c *CPU, in *isa.Inst) bool {
	return !c.cond(in.Cond) || c.jumpTo(c.nextRIP+in.Imm, in.OpSize)
}

// hCall looks at the stack before it looks at the target. On Intel's processors
// the return address is written even when the target then is no good.
func hCall(c *CPU, in *isa.Inst) bool {
	ret, size := c.nextRIP, int(in.OpSize)
	t, ok := c.target(in)
	if !ok {
		return false
	}
	sp := (c.R[RSP] - uint64(size)) & addrMask(c.stackSize())
	d, ok := c.dstMem(isa.SS, sp, size)
	if !ok {
		return false
	}
	if !c.amd {
		c.put(in, d, ret)
	}
	if !c.jumpTo(t, in.OpSize) {
		return false
	}
	c.put(in, d, ret)
	c.setSP(sp)
	return true
}

func hRet(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	t, ok := c.top(0, size)
	if !ok || !c.jumpTo(t, in.OpSize) {
		return false
	}
	n := uint64(size)
	if isa.Rows[in.Row].Args[0] == isa.ArgImm {
		n += in.Imm & 0xffff
	}
	c.setSP(c.R[RSP] + n)
	return true
}

func hJcxz(c *CPU, in *isa.Inst) bool {
	if c.R[RCX]&addrMask(in.AddrSize) != 0 {
		return true
	}
	return c.jumpTo(c.nextRIP+in.Imm, in.OpSize)
}

// loopsWhileZero tells LOOPE from LOOPNE. On AMD's processors F3 and F2 make
// either of them into the one whose name has the prefix's condition.
func (c *CPU) loopsWhileZero(in *isa.Inst) bool {
	if c.amd && in.Flags&(isa.FlagRep|isa.FlagRepne) != 0 {
		return in.Flags&isa.FlagRep != 0
	}
	return in.Op == isa.LOOPE
}

func hLoop(c *CPU, in *isa.Inst) bool {
	n := (c.R[RCX] - 1) & addrMask(in.AddrSize)
	zf := c.RFLAGS&flagZF != 0
	taken := n != 0 && (in.Op == isa.LOOP || zf == c.loopsWhileZero(in))
	if taken && !c.jumpTo(c.nextRIP+in.Imm, in.OpSize) {
		return false
	}
	c.setReg(in, RCX, int(in.AddrSize), n)
	return true
}

func hBound(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	ea := c.ea(in)
	lo, ok := c.load(in.Seg, ea, size)
	if !ok {
		return false
	}
	w := uint(8 * size)
	v := signExtend(c.reg(in, in.Reg, size), w)
	if !c.amd && v < signExtend(lo, w) { // Intel's processors do not look at the upper bound then
		return c.raise(vecBR)
	}
	hi, ok := c.load(in.Seg, (ea+uint64(size))&addrMask(in.AddrSize), size)
	if !ok {
		return false
	}
	if v < signExtend(lo, w) || v > signExtend(hi, w) {
		return c.raise(vecBR)
	}
	return true
}
