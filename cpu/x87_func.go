package cpu

import (
	"godwit/cpu/fp"
	"godwit/cpu/isa"
)

func init() {
	abs := func(_ *fp.Env, a fp.F80) fp.F80 { a.SE &= 0x7fff; return a }
	chs := func(_ *fp.Env, a fp.F80) fp.F80 { a.SE ^= 0x8000; return a }
	// The logarithms and FPATAN work on ST(1), with ST(0) as the other operand.
	yl2x := func(e *fp.Env, y, x fp.F80) fp.F80 { return fp.YL2X(e, x, y) }
	yl2xp1 := func(e *fp.Env, y, x fp.F80) fp.F80 { return fp.YL2XP1(e, x, y) }
	atan := func(e *fp.Env, y, x fp.F80) fp.F80 { return fp.Atan(e, x, y) }
	register(map[isa.Op]handler{
		isa.FABS: unaryX87(abs), isa.FCHS: unaryX87(chs),
		isa.FSQRT: unaryX87(fp.Sqrt80), isa.FRNDINT: unaryX87(fp.RoundInt80), isa.F2XM1: unaryX87(fp.F2XM1),
		isa.FSCALE: byVendor(binaryX87(fp.Scale80, 0), binaryX87(intelScale, 0)),
		isa.FYL2X:  intoST1(yl2x), isa.FYL2XP1: intoST1(yl2xp1), isa.FPATAN: intoST1(atan),
		isa.FPREM: remX87(false), isa.FPREM1: remX87(true),
		isa.FSIN: trigX87(fp.Sin), isa.FCOS: trigX87(fp.Cos),
		isa.FSINCOS: splitX87(fp.SinCos, fp.C2), isa.FPTAN: splitX87(fp.Tan, fp.C2),
		isa.FXTRACT: splitX87(extractX87, 0),
	})
}

// unaryX87 makes the handlers that replace ST(0) by f of it.
func unaryX87(f func(e *fp.Env, a fp.F80) fp.F80) handler {
	g := func(e *fp.Env, a, _ fp.F80) fp.F80 { return f(e, a) }
	return x87(func(c *CPU, _ *isa.Inst) bool {
		c.writeST(g, 0, fp.F80{}, false, 0)
		return true
	})
}

// intoST1 makes the handlers that replace ST(1) by f of it and ST(0), and pop.
func intoST1(f func(e *fp.Env, st1, st0 fp.F80) fp.F80) handler {
	return x87(func(c *CPU, _ *isa.Inst) bool {
		c.writeST(f, 1, c.st(0), c.emptyST(0), 1)
		return true
	})
}

// remX87 makes the handlers of FPREM and FPREM1. Where the result is a NaN there
// is no quotient, and AMD's CPUs clear nothing but C2 and C1.
func remX87(nearest bool) handler {
	return x87(func(c *CPU, _ *isa.Inst) bool {
		c.setCC(fp.C2, 0)
		if c.emptyST(0) || c.emptyST(1) {
			if c.underflowST() {
				c.setST(0, fp.Indefinite)
			}
			return true
		}
		r, cc := fp.Rem80(&c.env, c.st(0), c.st(1), nearest)
		if !c.settle() {
			return true
		}
		if r.SE&0x7fff != 0x7fff {
			c.setCC(fswCC, cc)
		}
		c.setST(0, r)
		return true
	})
}

// trigX87 makes the handlers of FSIN and FCOS.
func trigX87(f func(e *fp.Env, a fp.F80) (fp.F80, bool)) handler {
	return x87(func(c *CPU, _ *isa.Inst) bool {
		c.setCC(fp.C2, 0)
		if c.emptyST(0) {
			if c.underflowST() {
				c.setST(0, fp.Indefinite)
			}
			return true
		}
		r, inRange := f(&c.env, c.st(0))
		if c.settle() {
			c.setST(0, r)
			if !inRange {
				c.setCC(fp.C2, fp.C2)
			}
		}
		return true
	})
}

func extractX87(e *fp.Env, a fp.F80) (exp, sig fp.F80, inRange bool) {
	exp, sig = fp.Extract80(e, a)
	return exp, sig, true
}

// splitX87 makes the handlers that replace ST(0) by one result of f and push the
// other. If the operand is out of range they only set rangeCC, which is cleared
// otherwise.
func splitX87(f func(e *fp.Env, a fp.F80) (below, top fp.F80, inRange bool), rangeCC uint16) handler {
	return x87(func(c *CPU, _ *isa.Inst) bool {
		below, top := fp.Indefinite, fp.Indefinite
		var may bool
		c.setCC(rangeCC, 0)
		switch inRange := true; {
		case c.emptyST(0):
			may = c.underflowST()
		case !c.emptyST(7):
			may = c.overflowST()
		default:
			below, top, inRange = f(&c.env, c.st(0))
			may = c.settle()
			if may && !inRange {
				c.setCC(rangeCC, rangeCC)
				may = false
			}
		}
		if may {
			c.setST(0, below)
			c.pushST(top)
		}
		return true
	})
}

// intelScale: on Intel's processors a scale of zero leaves a denormal alone: that
// is no underflow.
func intelScale(e *fp.Env, a, b fp.F80) fp.F80 {
	masks := e.Masks
	if b.Mant == 0 && b.SE&0x7fff == 0 {
		e.Masks |= fp.UE
	}
	r := fp.Scale80(e, a, b)
	e.Masks = masks
	return r
}
