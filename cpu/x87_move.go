package cpu

import (
	"godwit/cpu/fp"
	"godwit/cpu/isa"
)

func init() {
	register(map[isa.Op]handler{
		isa.FLD: x87(hFld), isa.FILD: x87(hFild), isa.FBLD: x87(hFbld),
		isa.FLD1: constX87(fp.ConstOne), isa.FLDL2T: constX87(fp.ConstL2T),
		isa.FLDL2E: constX87(fp.ConstL2E), isa.FLDPI: constX87(fp.ConstPi),
		isa.FLDLG2: constX87(fp.ConstLG2), isa.FLDLN2: constX87(fp.ConstLN2),
		isa.FLDZ: constX87(fp.ConstZero),

		isa.FST: storeX87(realX87, 0), isa.FSTP: storeX87(realX87, 1),
		isa.FIST: storeX87(intX87, 0), isa.FISTP: storeX87(intX87, 1),
		isa.FISTTP: storeX87(truncX87, 1), isa.FBSTP: storeX87(bcdX87, 1),

		isa.FXCH:   x87(hFxch),
		isa.FCMOVB: fcmov(2), isa.FCMOVNB: fcmov(3), isa.FCMOVE: fcmov(4), isa.FCMOVNE: fcmov(5),
		isa.FCMOVBE: fcmov(6), isa.FCMOVNBE: fcmov(7), isa.FCMOVU: fcmov(10), isa.FCMOVNU: fcmov(11),

		isa.FINCSTP: x87(turn(1)), isa.FDECSTP: x87(turn(-1)),
		isa.FFREE: x87(hFfree), isa.FFREEP: x87(hFfreep), isa.FNOP: x87(hFnop),
	})
}

// loadST ends a load: it pushes v, unless that was an SNaN and IE is not masked. An
// unmasked DE does not keep AMD's CPUs from pushing.
func (c *CPU) loadST(v fp.F80) bool {
	if !c.emptyST(7) {
		if c.overflowST() {
			c.pushST(fp.Indefinite)
		}
		return true
	}
	c.settle()
	if c.env.Unmasked()&fp.IE == 0 {
		c.pushST(v)
	}
	return true
}

func hFld(c *CPU, in *isa.Inst) bool {
	if in.Flags&isa.FlagMem == 0 {
		return c.fldST(in.RM & 7)
	}
	size := in.ArgSize(0)
	if size == 10 {
		lo, hi, ok := c.load80(in)
		return ok && c.loadST(fp.F80{Mant: lo, SE: hi})
	}
	v, ok := c.load(in.Seg, c.ea(in), size)
	if !ok {
		return false
	}
	if size == 4 {
		return c.loadST(fp.From32(&c.env, uint32(v)))
	}
	return c.loadST(fp.From64(&c.env, v))
}

// fldST is FLD ST(i).
func (c *CPU) fldST(i uint8) bool {
	if c.emptyST(i) {
		if c.underflowST() {
			c.pushST(fp.Indefinite)
		}
		return true
	}
	return c.loadST(c.st(i))
}

func hFild(c *CPU, in *isa.Inst) bool {
	size := in.ArgSize(0)
	v, ok := c.load(in.Seg, c.ea(in), size)
	return ok && c.loadST(fp.FromInt80(signExtend(v, 8*uint(size))))
}

func hFbld(c *CPU, in *isa.Inst) bool {
	lo, hi, ok := c.load80(in)
	return ok && c.loadST(fp.FromBCD(lo, hi))
}

// constX87 makes the handlers of FLD1, FLDPI...
func constX87(n int) handler {
	return x87(func(c *CPU, _ *isa.Inst) bool { return c.loadST(fp.Constant(&c.env, n)) })
}

// image is what a store writes to memory: up to ten bytes.
type image struct {
	lo uint64
	hi uint16
}

// encoding is a format that ST(0) is stored in; size is in bytes.
type encoding struct {
	encode     func(e *fp.Env, v fp.F80, size int) image
	indefinite func(size int) image
}

var (
	realX87  = encoding{encodeReal, indefiniteReal}
	intX87   = encoding{encodeInt, indefiniteInt}
	truncX87 = encoding{encodeTrunc, indefiniteInt}
	bcdX87   = encoding{encodeBCD, func(int) image { return image{0xc000000000000000, 0xffff} }}
)

func encodeReal(e *fp.Env, v fp.F80, size int) image {
	switch size {
	case 4:
		return image{lo: uint64(fp.To32(e, v))}
	case 8:
		return image{lo: fp.To64(e, v)}
	}
	return image{v.Mant, v.SE}
}

func indefiniteReal(size int) image {
	switch size {
	case 4:
		return image{lo: 0xffc00000}
	case 8:
		return image{lo: 0xfff8000000000000}
	}
	return image{fp.Indefinite.Mant, fp.Indefinite.SE}
}

func encodeInt(e *fp.Env, v fp.F80, size int) image {
	return image{lo: uint64(fp.ToInt80(e, v, e.Round, uint(8*size)))}
}

func encodeTrunc(e *fp.Env, v fp.F80, size int) image {
	return image{lo: uint64(fp.ToInt80(e, v, fp.Zero, uint(8*size)))}
}

func indefiniteInt(size int) image { return image{lo: 1 << (8*uint(size) - 1)} }

func encodeBCD(e *fp.Env, v fp.F80, _ int) image {
	lo, hi := fp.ToBCD(e, v)
	return image{lo, hi}
}

// storeX87 makes the handlers that store ST(0), and then pop.
func storeX87(f encoding, pops int) handler {
	return x87(func(c *CPU, in *isa.Inst) bool {
		if in.Flags&isa.FlagMem == 0 {
			return c.fstST(in, pops)
		}
		size, fsw := in.ArgSize(0), c.FSW
		var m image
		var stores bool
		if c.emptyST(0) {
			m = f.indefinite(size)
			stores = c.underflowST()
		} else {
			m = f.encode(&c.env, c.st(0), size)
			stores = c.settle() && c.env.Unmasked()&(fp.OE|fp.UE) == 0
		}
		if !stores && !c.amd { // Intel's processors do not look at memory then
			return true
		}
		p, ok := c.placeX87(in, size, min(size, 8), accWrite)
		if !ok && size == 10 && !c.amd {
			c.pokeFirst(in, m.lo)
		}
		if !ok {
			c.FSW = fsw
			return false
		}
		if stores {
			c.pokeImage(&p, 0, size, m)
			c.popST(pops)
		}
		return true
	})
}

// pokeFirst writes the first eight bytes of ten of which not all can be written, as
// Intel's processors do, if they can. The fault stays that of the whole.
func (c *CPU) pokeFirst(in *isa.Inst, v uint64) {
	if c.inBlock || c.stalled {
		c.stepReq = c.inBlock
		return
	}
	fault := c.fault
	if p, ok := c.placeX87(in, 8, 8, accWrite); ok {
		c.poke(p.at(0), 8, v)
	}
	c.fault = fault
}

// pokeImage writes to an offset of a place that was checked.
func (c *CPU) pokeImage(p *placeX87, off uint64, size int, m image) {
	c.poke(p.at(off), min(size, 8), m.lo)
	if size > 8 {
		c.poke(p.at(off+8), size-8, uint64(m.hi))
	}
}

// fstST is FST and FSTP to ST(i): a copy that raises nothing but stack faults.
// Why: the alias D9 D8+i, which the manual does not know, raises not even these.
// It ignores an empty ST(0) and pops.
func (c *CPU) fstST(in *isa.Inst, pops int) bool {
	i, v := in.RM&7, c.st(0)
	if c.emptyST(0) {
		if in.R().Enc == "D9 D8+i" {
			c.setCC(fp.C1, 0)
			c.popST(1)
			return true
		}
		v = fp.Indefinite
		if !c.underflowST() {
			return true
		}
	} else {
		c.setCC(fp.C1, 0)
	}
	c.setST(i, v)
	c.popST(pops)
	return true
}

func hFxch(c *CPU, in *isa.Inst) bool {
	i := in.RM & 7
	a, b := c.st(0), c.st(i)
	e0, ei := c.emptyST(0), c.emptyST(i)
	if e0 {
		a = fp.Indefinite
	}
	if ei {
		b = fp.Indefinite
	}
	if !e0 && !ei {
		c.setCC(fp.C1, 0)
	} else if !c.underflowST() {
		return true
	}
	c.setST(0, b)
	c.setST(i, a)
	return true
}

// fcmov makes the handlers of FCMOVcc, for a condition numbered as in Jcc.
func fcmov(cond uint8) handler {
	return x87(func(c *CPU, in *isa.Inst) bool {
		i := in.RM & 7
		switch {
		case c.emptyST(0) || c.emptyST(i):
			if c.underflowST() {
				c.setST(0, fp.Indefinite)
			}
		case c.cond(cond):
			c.setST(0, c.st(i))
		}
		return true
	})
}

// turn makes the handlers of FINCSTP and FDECSTP.
func turn(n int) handler {
	return func(c *CPU, _ *isa.Inst) bool {
		c.turnX87(n)
		c.setCC(fp.C1, 0)
		return true
	}
}

func hFfree(c *CPU, in *isa.Inst) bool {
	c.freeST(in.RM & 7)
	c.setCC(fp.C1, 0)
	return true
}

// hFfreep is the undocumented FFREE that then pops.
func hFfreep(c *CPU, in *isa.Inst) bool {
	hFfree(c, in)
	c.popST(1)
	return true
}

func hFnop(*CPU, *isa.Inst) bool { return true }
