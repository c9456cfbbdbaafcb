package cpu

import (
	"godwit/cpu/fp"
	"godwit/cpu/isa"
)

// Floating-point arithmetic [SDM 1 10.4.1.2, 11.4.1.2]. Each line is one
// instruction: an operation of package fp on one lane or on all.

func init() {
	register(map[isa.Op]handler{
		isa.ADDPS: ps(fp.Add32), isa.ADDPD: pd(fp.Add64), isa.ADDSS: ss(fp.Add32), isa.ADDSD: sd(fp.Add64),
		isa.SUBPS: ps(fp.Sub32), isa.SUBPD: pd(fp.Sub64), isa.SUBSS: ss(fp.Sub32), isa.SUBSD: sd(fp.Sub64),
		isa.MULPS: ps(fp.Mul32), isa.MULPD: pd(fp.Mul64), isa.MULSS: ss(fp.Mul32), isa.MULSD: sd(fp.Mul64),
		isa.DIVPS: ps(fp.Div32), isa.DIVPD: pd(fp.Div64), isa.DIVSS: ss(fp.Div32), isa.DIVSD: sd(fp.Div64),
		isa.MINPS: ps(fp.Min32), isa.MINPD: pd(fp.Min64), isa.MINSS: ss(fp.Min32), isa.MINSD: sd(fp.Min64),
		isa.MAXPS: ps(fp.Max32), isa.MAXPD: pd(fp.Max64), isa.MAXSS: ss(fp.Max32), isa.MAXSD: sd(fp.Max64),

		isa.SQRTPS: ps(of32(fp.Sqrt32)), isa.SQRTPD: pd(of64(fp.Sqrt64)), isa.SQRTSS: ss(of32(fp.Sqrt32)), isa.SQRTSD: sd(of64(fp.Sqrt64)),
		isa.RCPPS: ps(quiet32(fp.Rcp32)), isa.RCPSS: ss(quiet32(fp.Rcp32)),
		isa.RSQRTPS: ps(quiet32(fp.Rsqrt32)), isa.RSQRTSS: ss(quiet32(fp.Rsqrt32)),

		isa.CMPPS: simd(every32(compare32)), isa.CMPPD: simd(every64(compare64)),
		isa.CMPSS: simd(low32(compare32)), isa.CMPSD: simd(low64(compare64)),
		isa.ROUNDPS: simd(every32(round32)), isa.ROUNDPD: simd(every64(round64)),
		isa.ROUNDSS: simd(low32(round32)), isa.ROUNDSD: simd(low64(round64)),

		isa.ADDSUBPS: simd(alternate32), isa.ADDSUBPD: simd(alternate64),
		isa.HADDPS: simd(pairs32(fp.Add32)), isa.HADDPD: simd(pairs64(fp.Add64)),
		isa.HSUBPS: simd(pairs32(fp.Sub32)), isa.HSUBPD: simd(pairs64(fp.Sub64)),
		isa.DPPS: byVendor(simd(dot32), simd(intelDot32)), isa.DPPD: byVendor(simd(dot64), simd(intelDot64)),

		isa.COMISS: compareFlags(related32, true), isa.UCOMISS: compareFlags(related32, false),
		isa.COMISD: compareFlags(fp.Compare64, true), isa.UCOMISD: compareFlags(fp.Compare64, false),
	})
}

// Operations on one lane: op32 and op64 of fp, imm32 and imm64 with the
// immediate of the instruction.
type (
	op32  = func(e *fp.Env, a, b uint32) uint32
	op64  = func(e *fp.Env, a, b uint64) uint64
	imm32 = func(e *fp.Env, a, b uint32, imm uint8) uint32
	imm64 = func(e *fp.Env, a, b uint64, imm uint8) uint64
)

func of32(f func(e *fp.Env, b uint32) uint32) op32 {
	return func(e *fp.Env, _, b uint32) uint32 { return f(e, b) }
}

func of64(f func(e *fp.Env, b uint64) uint64) op64 {
	return func(e *fp.Env, _, b uint64) uint64 { return f(e, b) }
}

func quiet32(f func(b uint32) uint32) op32 {
	return func(_ *fp.Env, _, b uint32) uint32 { return f(b) }
}

// The four shapes of arithmetic: packed or scalar, single or double.

func ps(f op32) handler {
	return simd(func(e *fp.Env, a, b xmm, _ uint8) xmm { return xmm{two32(e, a.lo, b.lo, f), two32(e, a.hi, b.hi, f)} })
}

func ss(f op32) handler {
	return simd(func(e *fp.Env, a, b xmm, _ uint8) xmm {
		return xmm{a.lo&^0xffffffff | uint64(f(e, uint32(a.lo), uint32(b.lo))), a.hi}
	})
}

func pd(f op64) handler {
	return simd(func(e *fp.Env, a, b xmm, _ uint8) xmm { return xmm{f(e, a.lo, b.lo), f(e, a.hi, b.hi)} })
}

func sd(f op64) handler {
	return simd(func(e *fp.Env, a, b xmm, _ uint8) xmm { return xmm{f(e, a.lo, b.lo), a.hi} })
}

// two32 computes on the two singles of a quadword.
func two32(e *fp.Env, a, b uint64, f op32) uint64 {
	lo := f(e, uint32(a), uint32(b))
	return uint64(lo) | uint64(f(e, uint32(a>>32), uint32(b>>32)))<<32
}

// The same shapes for operations with an immediate.

func every32(f imm32) simdOp {
	return func(e *fp.Env, a, b xmm, imm uint8) (r xmm) {
		for i := uint(0); i < 4; i++ {
			r = r.setLane(i, 32, uint64(f(e, uint32(a.lane(i, 32)), uint32(b.lane(i, 32)), imm)))
		}
		return r
	}
}

func low32(f imm32) simdOp {
	return func(e *fp.Env, a, b xmm, imm uint8) xmm {
		return a.setLane(0, 32, uint64(f(e, uint32(a.lo), uint32(b.lo), imm)))
	}
}

func every64(f imm64) simdOp {
	return func(e *fp.Env, a, b xmm, imm uint8) xmm { return xmm{f(e, a.lo, b.lo, imm), f(e, a.hi, b.hi, imm)} }
}

func low64(f imm64) simdOp {
	return func(e *fp.Env, a, b xmm, imm uint8) xmm { return xmm{f(e, a.lo, b.lo, imm), a.hi} }
}

// compare32 is CMPPS: legacy encodings use three bits of the predicate.
func compare32(e *fp.Env, a, b uint32, imm uint8) uint32 {
	return -uint32(b2u(fp.Predicate32(e, a, b, imm&7)))
}

func compare64(e *fp.Env, a, b uint64, imm uint8) uint64 {
	return -b2u(fp.Predicate64(e, a, b, imm&7))
}

func round32(e *fp.Env, _, b uint32, imm uint8) uint32 { return fp.Round32(e, b, imm) }
func round64(e *fp.Env, _, b uint64, imm uint8) uint64 { return fp.Round64(e, b, imm) }

// alternate32 is ADDSUBPS: even lanes subtract, odd ones add.
func alternate32(e *fp.Env, a, b xmm, _ uint8) xmm {
	f := func(a, b uint64) uint64 {
		lo := fp.Sub32(e, uint32(a), uint32(b))
		return uint64(lo) | uint64(fp.Add32(e, uint32(a>>32), uint32(b>>32)))<<32
	}
	return xmm{f(a.lo, b.lo), f(a.hi, b.hi)}
}

func alternate64(e *fp.Env, a, b xmm, _ uint8) xmm {
	return xmm{fp.Sub64(e, a.lo, b.lo), fp.Add64(e, a.hi, b.hi)}
}

// pairs32 computes on neighbours, first those of a and then of b.
func pairs32(f op32) simdOp {
	return func(e *fp.Env, a, b xmm, _ uint8) xmm {
		g := func(x xmm) uint64 {
			lo := f(e, uint32(x.lo), uint32(x.lo>>32))
			return uint64(lo) | uint64(f(e, uint32(x.hi), uint32(x.hi>>32)))<<32
		}
		return xmm{g(a), g(b)}
	}
}

func pairs64(f op64) simdOp {
	return func(e *fp.Env, a, b xmm, _ uint8) xmm { return xmm{f(e, a.lo, a.hi), f(e, b.lo, b.hi)} }
}

// dot32 is DPPS: imm bits 7:4 choose the products, 3:0 where their sum goes.
// Products and sums round and raise exceptions one after the other [SDM 2 DPPS].
func dot32(e *fp.Env, a, b xmm, imm uint8) (r xmm) {
	p := products32(e, a, b, imm)
	if !e.Step() {
		return r
	}
	lo, hi := fp.Add32(e, p[0], p[1]), fp.Add32(e, p[2], p[3])
	if !e.Step() {
		return r
	}
	sum := fp.Add32(e, lo, hi)
	for i := uint(0); i < 4; i++ {
		if imm>>i&1 != 0 {
			r = r.setLane(i, 32, uint64(sum))
		}
	}
	return r
}

func products32(e *fp.Env, a, b xmm, imm uint8) (p [4]uint32) {
	for i := uint(0); i < 4; i++ {
		if imm>>(4+i)&1 != 0 {
			p[i] = fp.Mul32(e, uint32(a.lane(i, 32)), uint32(b.lane(i, 32)))
		}
	}
	return p
}

// intelDot32: on Intel's processors every element of the result has a sum of its
// own, which begins with its neighbour's product. They differ in which NaN they
// pass on.
func intelDot32(e *fp.Env, a, b xmm, imm uint8) (r xmm) {
	p, s := products32(e, a, b, imm), [4]uint32{}
	if !e.Step() {
		return r
	}
	for i := range s {
		s[i] = fp.Add32(e, p[i^1], p[i])
	}
	if !e.Step() {
		return r
	}
	for i := range s {
		if v := fp.Add32(e, s[i], s[i^2]); imm>>i&1 != 0 {
			r = r.setLane(uint(i), 32, uint64(v))
		}
	}
	return r
}

// dot64 is DPPD.
func dot64(e *fp.Env, a, b xmm, imm uint8) (r xmm) {
	p := products64(e, a, b, imm)
	if !e.Step() {
		return r
	}
	sum := fp.Add64(e, p.lo, p.hi)
	return xmm{sum & -uint64(imm&1), sum & -uint64(imm>>1&1)}
}

func products64(e *fp.Env, a, b xmm, imm uint8) (p xmm) {
	if imm>>4&1 != 0 {
		p.lo = fp.Mul64(e, a.lo, b.lo)
	}
	if imm>>5&1 != 0 {
		p.hi = fp.Mul64(e, a.hi, b.hi)
	}
	return p
}

// intelDot64 is like intelDot32, but sums begin with their own product.
func intelDot64(e *fp.Env, a, b xmm, imm uint8) xmm {
	p := products64(e, a, b, imm)
	if !e.Step() {
		return xmm{}
	}
	lo, hi := fp.Add64(e, p.lo, p.hi), fp.Add64(e, p.hi, p.lo)
	return xmm{lo & -uint64(imm&1), hi & -uint64(imm>>1&1)}
}

func related32(e *fp.Env, a, b uint64, signalling bool) fp.Relation {
	return fp.Compare32(e, uint32(a), uint32(b), signalling)
}

// relationFlags are the status flags of COMISS [SDM 2 COMISS].
var relationFlags = [4]uint64{fp.Less: flagCF, fp.Equal: flagZF, fp.Greater: 0, fp.Unordered: flagZF | flagPF | flagCF}

// setRelation sets the flags of a comparison of numbers.
func (c *CPU) setRelation(less, equal bool) { c.setStatus(b2u(less)*flagCF | b2u(equal)*flagZF) }

// compareFlags makes COMISS and its kin.
func compareFlags(f func(e *fp.Env, a, b uint64, signalling bool) fp.Relation, signalling bool) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		b, ok := c.srcXMM(in, 1)
		if !ok {
			return false
		}
		before := c.beginSIMD()
		r := f(&c.env, c.xmm(in.Reg).lo, b.lo, signalling)
		if !c.endSIMD(before) {
			return false
		}
		c.setStatus(relationFlags[r&3])
		return true
	}
}
