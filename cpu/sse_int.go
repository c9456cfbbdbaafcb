package cpu

import "godwit/cpu/isa"

// Packed integer arithmetic [SDM 1 9.4, 11.4.2, 12.6]. Each line is one
// instruction, for MMX and XMM registers where both exist.

func init() {
	registerVec(map[isa.Op]vec{
		isa.PAND: bitAnd, isa.ANDPS: bitAnd, isa.ANDPD: bitAnd,
		isa.PANDN: bitAndn, isa.ANDNPS: bitAndn, isa.ANDNPD: bitAndn,
		isa.POR: bitOr, isa.ORPS: bitOr, isa.ORPD: bitOr,
		isa.PXOR: bitXor, isa.XORPS: bitXor, isa.XORPD: bitXor,

		isa.PADDB: packed(addLanes(top8)), isa.PSUBB: packed(subLanes(top8)),
		isa.PADDW: packed(addLanes(top16)), isa.PSUBW: packed(subLanes(top16)),
		isa.PADDD: packed(addLanes(top32)), isa.PSUBD: packed(subLanes(top32)),
		isa.PADDQ:   packed(func(a, b uint64) uint64 { return a + b }),
		isa.PSUBQ:   packed(func(a, b uint64) uint64 { return a - b }),
		isa.PADDUSB: packed(addUnsigned(top8)), isa.PSUBUSB: packed(subUnsigned(top8)),
		isa.PADDUSW: packed(addUnsigned(top16)), isa.PSUBUSW: packed(subUnsigned(top16)),
		isa.PADDSB: packed(lanes(func(a, b uint8) uint8 { return clamp8(int32(int8(a)) + int32(int8(b))) })),
		isa.PSUBSB: packed(lanes(func(a, b uint8) uint8 { return clamp8(int32(int8(a)) - int32(int8(b))) })),
		isa.PADDSW: packed(lanes(addSigned)), isa.PSUBSW: packed(lanes(subSigned)),

		isa.PCMPEQB: packed(eqLanes(top8)), isa.PCMPGTB: packed(gtLanes(top8)),
		isa.PCMPEQW: packed(eqLanes(top16)), isa.PCMPGTW: packed(gtLanes(top16)),
		isa.PCMPEQD: packed(eqLanes(top32)), isa.PCMPGTD: packed(gtLanes(top32)),
		isa.PCMPEQQ: packed(func(a, b uint64) uint64 { return -b2u(a == b) }),
		isa.PCMPGTQ: packed(func(a, b uint64) uint64 { return -b2u(int64(a) > int64(b)) }),

		isa.PMINUB: packed(minLanes(top8, 0)), isa.PMAXUB: packed(maxLanes(top8, 0)),
		isa.PMINUW: packed(minLanes(top16, 0)), isa.PMAXUW: packed(maxLanes(top16, 0)),
		isa.PMINUD: packed(minLanes(top32, 0)), isa.PMAXUD: packed(maxLanes(top32, 0)),
		isa.PMINSB: packed(minLanes(top8, top8)), isa.PMAXSB: packed(maxLanes(top8, top8)),
		isa.PMINSW: packed(minLanes(top16, top16)), isa.PMAXSW: packed(maxLanes(top16, top16)),
		isa.PMINSD: packed(minLanes(top32, top32)), isa.PMAXSD: packed(maxLanes(top32, top32)),
		isa.PHMINPOSUW: vector(minPos),

		isa.PAVGB:  packed(lanes(func(a, b uint8) uint8 { return uint8((uint32(a) + uint32(b) + 1) >> 1) })),
		isa.PAVGW:  packed(lanes(func(a, b uint16) uint16 { return uint16((uint32(a) + uint32(b) + 1) >> 1) })),
		isa.PABSB:  packed(lanes(func(_, b uint8) uint8 { return sign(b, b>>7) })),
		isa.PABSW:  packed(lanes(func(_, b uint16) uint16 { return sign(b, b>>15) })),
		isa.PABSD:  packed(lanes(func(_, b uint32) uint32 { return sign(b, b>>31) })),
		isa.PSIGNB: packed(lanes(func(a, b uint8) uint8 { return sign(a&-nonzero(b), b>>7) })),
		isa.PSIGNW: packed(lanes(func(a, b uint16) uint16 { return sign(a&-nonzero(b), b>>15) })),
		isa.PSIGND: packed(lanes(func(a, b uint32) uint32 { return sign(a&-nonzero(b), b>>31) })),

		isa.PMULLW:    packed(lanes(func(a, b uint16) uint16 { return a * b })),
		isa.PMULHW:    packed(lanes(func(a, b uint16) uint16 { return uint16(int32(int16(a)) * int32(int16(b)) >> 16) })),
		isa.PMULHUW:   packed(lanes(func(a, b uint16) uint16 { return uint16(uint32(a) * uint32(b) >> 16) })),
		isa.PMULHRSW:  packed(lanes(func(a, b uint16) uint16 { return uint16((int32(int16(a))*int32(int16(b))>>14 + 1) >> 1) })),
		isa.PMULLD:    packed(lanes(func(a, b uint32) uint32 { return a * b })),
		isa.PMULUDQ:   packed(func(a, b uint64) uint64 { return a & 0xffffffff * (b & 0xffffffff) }),
		isa.PMULDQ:    packed(func(a, b uint64) uint64 { return uint64(int64(int32(a)) * int64(int32(b))) }),
		isa.PMADDWD:   packed(lanes(addProducts)),
		isa.PMADDUBSW: packed(lanes(addProductsMixed)),
		isa.PSADBW:    packed(sumDiffs),
		isa.MPSADBW:   vector(slideDiffs),

		isa.PHADDW: folded(fold(func(a, b uint16) uint16 { return a + b })), isa.PHADDD: folded(fold(func(a, b uint32) uint32 { return a + b })),
		isa.PHSUBW: folded(fold(func(a, b uint16) uint16 { return a - b })), isa.PHSUBD: folded(fold(func(a, b uint32) uint32 { return a - b })),
		isa.PHADDSW: folded(fold(addSigned)), isa.PHSUBSW: folded(fold(subSigned)),

		isa.PSLLW: shiftVec(shiftLeft(16)), isa.PSRLW: shiftVec(shiftRight(16)), isa.PSRAW: shiftVec(shiftSigned(16)),
		isa.PSLLD: shiftVec(shiftLeft(32)), isa.PSRLD: shiftVec(shiftRight(32)), isa.PSRAD: shiftVec(shiftSigned(32)),
		isa.PSLLQ: shiftVec(shiftLeft(64)), isa.PSRLQ: shiftVec(shiftRight(64)),
	})
	register(map[isa.Op]handler{isa.PTEST: hPtest})
}

var (
	bitAnd  = packed(func(a, b uint64) uint64 { return a & b })
	bitAndn = packed(func(a, b uint64) uint64 { return b &^ a })
	bitOr   = packed(func(a, b uint64) uint64 { return a | b })
	bitXor  = packed(func(a, b uint64) uint64 { return a ^ b })
)

func addSigned(a, b uint16) uint16 { return clamp16(int32(int16(a)) + int32(int16(b))) }
func subSigned(a, b uint16) uint16 { return clamp16(int32(int16(a)) - int32(int16(b))) }

// sign negates v if neg is 1.
func sign[T unsigned](v, neg T) T { return (v ^ -neg) + neg }

// nonzero is 1 unless v is 0.
func nonzero[T unsigned](v T) T {
	if v == 0 {
		return 0
	}
	return 1
}

// addProducts is a lane of PMADDWD.
func addProducts(a, b uint32) uint32 {
	return uint32(int32(int16(a))*int32(int16(b)) + int32(a)>>16*(int32(b)>>16))
}

// addProductsMixed is a lane of PMADDUBSW: unsigned bytes of a times signed
// ones of b.
func addProductsMixed(a, b uint16) uint16 {
	return clamp16(int32(uint8(a))*int32(int8(b)) + int32(a>>8)*int32(int8(b>>8)))
}

// diff is the distance of two bytes.
func diff(a, b uint64) uint64 {
	a, b = a&0xff, b&0xff
	return max(a, b) - min(a, b)
}

// sumDiffs is PSADBW.
func sumDiffs(a, b uint64) (r uint64) {
	for s := uint(0); s < 64; s += 8 {
		r += diff(a>>s, b>>s)
	}
	return r
}

// slideDiffs is MPSADBW: the distance of four bytes of b to each four
// successive ones of eleven of a.
func slideDiffs(a, b xmm, imm uint8) (r xmm) {
	at, ref := uint(imm>>2&1)*4, uint(imm&3)*4
	for i := uint(0); i < 8; i++ {
		var sum uint64
		for k := uint(0); k < 4; k++ {
			sum += diff(a.lane(at+i+k, 8), b.lane(ref+k, 8))
		}
		r = r.setLane(i, 16, sum)
	}
	return r
}

// minPos is PHMINPOSUW: the lowest word and its first position.
func minPos(_, b xmm, _ uint8) xmm {
	at := uint(0)
	for i := uint(1); i < 8; i++ {
		if b.lane(i, 16) < b.lane(at, 16) {
			at = i
		}
	}
	return xmm{lo: b.lane(at, 16) | uint64(at)<<16}
}

// shiftVec is a shift of all lanes by one count: an immediate, or the low
// quadword of the second operand.
func shiftVec(f qop) vec { return vec{shift: f} }

func shiftHandler(f qop) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useVec(in) {
			return false
		}
		dst, n, ok := in.RM, in.Imm&0xff, true
		if isa.Rows[in.Row].Args[1] != isa.ArgImm {
			dst = in.Reg
			n, ok = c.scalarArg(in)
		}
		switch {
		case !ok:
			return false
		case isMMX(in):
			c.setMM(dst, f(c.mm(dst), n))
			c.enterMMX()
		default:
			x := c.xmm(dst)
			c.setXMM(dst, xmm{f(x.lo, n), f(x.hi, n)})
		}
		return true
	}
}

// hPtest sets ZF if no bit of the source is set in the destination, and CF if
// all of them are.
func hPtest(c *CPU, in *isa.Inst) bool {
	if !c.useSSE() {
		return false
	}
	b, ok := c.srcXMM(in, 1)
	if ok {
		a := c.xmm(in.Reg)
		c.setStatus(b2u(a.lo&b.lo|a.hi&b.hi == 0)<<6 | b2u(b.lo&^a.lo|b.hi&^a.hi == 0))
	}
	return ok
}
