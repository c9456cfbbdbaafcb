package cpu

import "godwit/cpu/isa"

// MMX registers are the significands of the physical x87 registers
// [SDM 1 9.2.2].

func (c *CPU) mm(n uint8) uint64 { return c.ST[n&7].Mant }

// setMM writes an MMX register and what above the significand is left to the
// x87: sign and exponent all ones [SDM 1 9.5.1].
func (c *CPU) setMM(n uint8, v uint64) { c.ST[n&7] = F80{Mant: v, SE: 0xffff} }

// enterMMX ends every MMX instruction but EMMS: top of stack 0, all registers
// valid [SDM 1 9.5.1].
func (c *CPU) enterMMX() {
	c.FSW &^= 7 << 11
	c.FTW = 0xff
}

// srcMM reads the ModRM.rm operand: an MMX register, or memory.
func (c *CPU) srcMM(in *isa.Inst, arg int) (uint64, bool) {
	if in.Flags&isa.FlagMem == 0 {
		return c.mm(in.RM), true
	}
	return c.load(in.Seg, c.ea(in), in.ArgSize(arg))
}

// argsMM opens an MMX instruction of two operands and reads them.
func (c *CPU) argsMM(in *isa.Inst) (a, b uint64, ok bool) {
	if !c.useMMX() {
		return 0, 0, false
	}
	b, ok = c.srcMM(in, 1)
	return c.mm(in.Reg), b, ok
}

// finishMM writes the destination of an MMX instruction.
func (c *CPU) finishMM(in *isa.Inst, v uint64) bool {
	c.setMM(in.Reg, v)
	c.enterMMX()
	return true
}
