package cpu

import (
	"godwit/cpu/fp"
	"godwit/cpu/isa"
)

// Conversions [SDM 1 11.6, table 11-1].

func init() {
	register(map[isa.Op]handler{
		isa.CVTSI2SS: fromInt(func(e *fp.Env, v int64, d uint64) uint64 { return d&^0xffffffff | uint64(fp.I64ToF32(e, v)) }),
		isa.CVTSI2SD: fromInt(func(e *fp.Env, v int64, _ uint64) uint64 { return fp.I64ToF64(e, v) }),

		isa.CVTSS2SI:  toInt(int32F32, int64F32, false),
		isa.CVTTSS2SI: toInt(int32F32, int64F32, true),
		isa.CVTSD2SI:  toInt(fp.F64ToI32, fp.F64ToI64, false),
		isa.CVTTSD2SI: toInt(fp.F64ToI32, fp.F64ToI64, true),

		isa.CVTSS2SD: sd(func(e *fp.Env, _, b uint64) uint64 { return fp.F32To64(e, uint32(b)) }),
		isa.CVTSD2SS: simd(func(e *fp.Env, a, b xmm, _ uint8) xmm { return a.setLane(0, 32, uint64(fp.F64To32(e, b.lo))) }),
		isa.CVTPS2PD: simd(func(e *fp.Env, _, b xmm, _ uint8) xmm {
			return xmm{fp.F32To64(e, uint32(b.lo)), fp.F32To64(e, uint32(b.lo>>32))}
		}),
		isa.CVTPD2PS: simd(toPairs(fp.F64To32)),

		isa.CVTDQ2PS: ps(of32(func(e *fp.Env, b uint32) uint32 { return fp.I64ToF32(e, int64(int32(b))) })),
		isa.CVTDQ2PD: simd(func(e *fp.Env, _, b xmm, _ uint8) xmm {
			return xmm{fp.I64ToF64(e, int64(int32(b.lo))), fp.I64ToF64(e, int64(b.lo)>>32)}
		}),
		isa.CVTPS2DQ:  ps(of32(roundS)),
		isa.CVTTPS2DQ: ps(of32(truncS)),
		isa.CVTPD2DQ:  simd(toPairs(roundD)),
		isa.CVTTPD2DQ: simd(toPairs(truncD)),

		isa.CVTPI2PS: hCvtpi2ps, isa.CVTPI2PD: hCvtpi2pd,
		isa.CVTPS2PI: toMM(bothS(roundS)), isa.CVTTPS2PI: toMM(bothS(truncS)),
		isa.CVTPD2PI: toMM(toPairs(roundD)), isa.CVTTPD2PI: toMM(toPairs(truncD)),
	})
}

func roundS(e *fp.Env, b uint32) uint32 { return uint32(fp.F32ToI32(e, b, e.Round)) }
func truncS(e *fp.Env, b uint32) uint32 { return uint32(fp.F32ToI32(e, b, fp.Zero)) }
func roundD(e *fp.Env, b uint64) uint32 { return uint32(fp.F64ToI32(e, b, e.Round)) }
func truncD(e *fp.Env, b uint64) uint32 { return uint32(fp.F64ToI32(e, b, fp.Zero)) }

func int32F32(e *fp.Env, b uint64, rc uint8) int32 { return fp.F32ToI32(e, uint32(b), rc) }
func int64F32(e *fp.Env, b uint64, rc uint8) int64 { return fp.F32ToI64(e, uint32(b), rc) }

// toPairs converts two doubles to doublewords in the low half.
func toPairs(f func(e *fp.Env, b uint64) uint32) simdOp {
	return func(e *fp.Env, _, b xmm, _ uint8) xmm {
		lo := f(e, b.lo)
		return xmm{lo: uint64(lo) | uint64(f(e, b.hi))<<32}
	}
}

// bothS converts the two singles of the low half.
func bothS(f func(e *fp.Env, b uint32) uint32) simdOp {
	g := of32(f)
	return func(e *fp.Env, _, b xmm, _ uint8) xmm { return xmm{lo: two32(e, 0, b.lo, g)} }
}

// fromInt makes CVTSI2SS and CVTSI2SD; f gets the destination's old low half.
func fromInt(f func(e *fp.Env, v int64, d uint64) uint64) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		v, ok := c.arg(in, 1)
		if !ok {
			return false
		}
		d := &c.V[in.Reg&15][0]
		before := c.beginSIMD()
		r := f(&c.env, signExtend(v, 8*uint(in.ArgSize(1))), *d)
		if !c.endSIMD(before) {
			return false
		}
		*d = r
		return true
	}
}

// toInt makes CVTSS2SI and its kin, which truncate or round as MXCSR says.
func toInt(f32 func(*fp.Env, uint64, uint8) int32, f64 func(*fp.Env, uint64, uint8) int64, truncate bool) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		b, ok := c.srcXMM(in, 1)
		if !ok {
			return false
		}
		before := c.beginSIMD()
		rc := c.env.Round
		if truncate {
			rc = fp.Zero
		}
		var r uint64
		if in.ArgSize(0) == 8 {
			r = uint64(f64(&c.env, b.lo, rc))
		} else {
			r = uint64(f32(&c.env, b.lo, rc))
		}
		if !c.endSIMD(before) {
			return false
		}
		c.setReg(in, in.Reg, in.ArgSize(0), r)
		return true
	}
}

// toMM makes the conversions into an MMX register. The x87 state becomes that
// of MMX even if an exception then keeps the register, as measured on silicon.
func toMM(f simdOp) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useVec(in) {
			return false
		}
		b, ok := c.srcXMM(in, 1)
		if !ok {
			return false
		}
		before := c.beginSIMD()
		r := f(&c.env, xmm{}, b, 0)
		c.enterMMX()
		return c.endSIMD(before) && c.finishMM(in, r.lo)
	}
}

// hCvtpi2ps leaves the x87 state alone with a memory operand on processors of
// both vendors, though Intel's manual has the exception only for CVTPI2PD
// [SDM 2 CVTPI2PS].
func hCvtpi2ps(c *CPU, in *isa.Inst) bool {
	if !c.useVec(in) {
		return false
	}
	v, ok := c.srcMM(in, 1)
	if !ok {
		return false
	}
	before := c.beginSIMD()
	lo := fp.I64ToF32(&c.env, int64(int32(v)))
	r := uint64(lo) | uint64(fp.I64ToF32(&c.env, int64(v)>>32))<<32
	if in.Flags&isa.FlagMem == 0 {
		c.enterMMX() // an exception notwithstanding, see toMM
	}
	if !c.endSIMD(before) {
		return false
	}
	c.V[in.Reg&15][0] = r
	return true
}

// hCvtpi2pd is exact. With a memory operand it leaves the x87 state alone
// [SDM 2 CVTPI2PD].
func hCvtpi2pd(c *CPU, in *isa.Inst) bool {
	memory := in.Flags&isa.FlagMem != 0
	if memory && !c.useSSE() || !memory && !c.useVec(in) {
		return false
	}
	v, ok := c.srcMM(in, 1)
	if !ok {
		return false
	}
	e := fp.Env{Masks: fp.AllExceptions}
	c.setXMM(in.Reg, xmm{fp.I64ToF64(&e, int64(int32(v))), fp.I64ToF64(&e, int64(v)>>32)})
	if !memory {
		c.enterMMX()
	}
	return true
}
