package cpu

import (
	"godwit/cpu/fp"
	"godwit/cpu/isa"
)

func init() {
	sub := func(e *fp.Env, a, b fp.F80) fp.F80 { return fp.Sub80(e, b, a) }
	div := func(e *fp.Env, a, b fp.F80) fp.F80 { return fp.Div80(e, b, a) }
	register(map[isa.Op]handler{
		isa.FADD: binaryX87(fp.Add80, 0), isa.FADDP: binaryX87(fp.Add80, 1), isa.FIADD: binaryX87(fp.Add80, 0),
		isa.FMUL: binaryX87(fp.Mul80, 0), isa.FMULP: binaryX87(fp.Mul80, 1), isa.FIMUL: binaryX87(fp.Mul80, 0),
		isa.FSUB: binaryX87(fp.Sub80, 0), isa.FSUBP: binaryX87(fp.Sub80, 1), isa.FISUB: binaryX87(fp.Sub80, 0),
		isa.FDIV: binaryX87(fp.Div80, 0), isa.FDIVP: binaryX87(fp.Div80, 1), isa.FIDIV: binaryX87(fp.Div80, 0),
		isa.FSUBR: binaryX87(sub, 0), isa.FSUBRP: binaryX87(sub, 1), isa.FISUBR: binaryX87(sub, 0),
		isa.FDIVR: binaryX87(div, 0), isa.FDIVRP: binaryX87(div, 1), isa.FIDIVR: binaryX87(div, 0),

		isa.FCOM: compareX87(true, 0), isa.FCOMP: compareX87(true, 1), isa.FCOMPP: compareX87(true, 2),
		isa.FUCOM: compareX87(false, 0), isa.FUCOMP: compareX87(false, 1), isa.FUCOMPP: compareX87(false, 2),
		isa.FICOM: compareX87(true, 0), isa.FICOMP: compareX87(true, 1),
		isa.FCOMI: comiX87(true, 0), isa.FCOMIP: comiX87(true, 1),
		isa.FUCOMI: comiX87(false, 0), isa.FUCOMIP: comiX87(false, 1),
		isa.FTST: x87(hFtst), isa.FXAM: x87(hFxam),
	})
}

// source reads the second operand of an arithmetic instruction or a comparison:
// memory, or ST(i). A memory operand is never empty.
func (c *CPU) source(in *isa.Inst, i uint8) (v fp.F80, empty, ok bool) {
	if in.Flags&isa.FlagMem == 0 {
		return c.st(i), c.emptyST(i), true
	}
	size := in.ArgSize(0)
	m, ok := c.load(in.Seg, c.ea(in), size)
	if !ok {
		return fp.F80{}, false, false
	}
	switch {
	case intOperand(in.Op):
		v = fp.FromInt80(signExtend(m, 8*uint(size)))
	case size == 4:
		v = fp.Operand32(&c.env, uint32(m))
	default:
		v = fp.Operand64(&c.env, m)
	}
	return v, false, true
}

// intOperand tells that the memory operand is an integer.
func intOperand(op isa.Op) bool {
	switch op {
	case isa.FIADD, isa.FIMUL, isa.FISUB, isa.FISUBR, isa.FIDIV, isa.FIDIVR, isa.FICOM, isa.FICOMP:
		return true
	}
	return false
}

// registers gives the operands of an encoding as numbers of ST registers. With a
// memory operand, or no operands, they are ST(0) and ST(1).
func registers(in *isa.Inst) (dst, src uint8) {
	switch {
	case in.Flags&isa.FlagMem != 0 || in.R().Args[0] == isa.ArgNone:
		return 0, 1
	case in.R().Args[0] == isa.ArgST:
		return in.RM & 7, 0
	}
	return 0, in.RM & 7
}

// binaryX87 makes the handlers of instructions that replace an operand by f of
// both, and then pop.
func binaryX87(f func(e *fp.Env, dst, src fp.F80) fp.F80, pops int) handler {
	return x87(func(c *CPU, in *isa.Inst) bool {
		dst, src := registers(in)
		b, empty, ok := c.source(in, src)
		if !ok {
			return false
		}
		c.writeST(f, dst, b, empty, pops)
		return true
	})
}

// writeST replaces ST(dst) by f of it and b.
func (c *CPU) writeST(f func(e *fp.Env, dst, src fp.F80) fp.F80, dst uint8, b fp.F80, empty bool, pops int) {
	r, ok := fp.Indefinite, true
	if empty || c.emptyST(dst) {
		ok = c.underflowST()
	} else {
		r = f(&c.env, c.st(dst), b)
		ok = c.settle()
	}
	if ok {
		c.setST(dst, r)
		c.popST(pops)
	}
}

// relate compares ST(0) with the second operand. may tells that registers may be
// written or popped.
func (c *CPU) relate(in *isa.Inst, signalling, keepC1 bool) (r fp.Relation, may, ok bool) {
	_, src := registers(in)
	b, empty, ok := c.source(in, src)
	if !ok {
		return 0, false, false
	}
	if empty || c.emptyST(0) {
		return fp.Unordered, c.underflowST(), true
	}
	r = fp.Compare80(&c.env, c.st(0), b, signalling)
	c.env.C1 = keepC1 && c.FSW&fp.C1 != 0
	return r, c.settle(), true
}

// compareX87 makes the handlers of comparisons that set the condition code, even
// if an unmasked exception keeps them from popping.
func compareX87(signalling bool, pops int) handler {
	return x87(func(c *CPU, in *isa.Inst) bool {
		r, may, ok := c.relate(in, signalling, false)
		if !ok {
			return false
		}
		c.setCC(fswCC&^fp.C1, r.Condition())
		if may {
			c.popST(pops)
		}
		return true
	})
}

// comiX87 makes the handlers of comparisons that set RFLAGS. They leave C1 alone
// unless a register is empty.
func comiX87(signalling bool, pops int) handler {
	return x87(func(c *CPU, in *isa.Inst) bool {
		r, may, ok := c.relate(in, signalling, true)
		if !ok {
			return false
		}
		c.setStatus(relationFlags[r&3])
		if may {
			c.popST(pops)
		}
		return true
	})
}

func hFtst(c *CPU, _ *isa.Inst) bool {
	r := fp.Unordered
	if c.emptyST(0) {
		c.underflowST()
	} else {
		r = fp.Compare80(&c.env, c.st(0), fp.F80{}, true)
		c.settle()
	}
	c.setCC(fswCC&^fp.C1, r.Condition())
	return true
}

func hFxam(c *CPU, _ *isa.Inst) bool {
	v := c.st(0)
	cc := fp.Examine(v)
	if c.emptyST(0) {
		cc = cc&fp.C1 | fp.C3 | fp.C0
	}
	c.setCC(fswCC, cc)
	return true
}
