package cpu

import "godwit/cpu/isa"

// Instructions that move lanes without computing on them.

func init() {
	registerVec(map[isa.Op]vec{
		isa.PUNPCKLBW: interleaveLow(8), isa.PUNPCKHBW: interleaveHigh(8),
		isa.PUNPCKLWD: interleaveLow(16), isa.PUNPCKHWD: interleaveHigh(16),
		isa.PUNPCKLDQ: interleaveLow(32), isa.PUNPCKHDQ: interleaveHigh(32),
		isa.UNPCKLPS: interleaveLow(32), isa.UNPCKHPS: interleaveHigh(32),
		isa.PUNPCKLQDQ: lowQwords, isa.UNPCKLPD: lowQwords, isa.PUNPCKHQDQ: highQwords, isa.UNPCKHPD: highQwords,

		isa.PACKSSWB: folded(narrow(16, func(v int64) uint64 { return clamp(v, 8) })),
		isa.PACKSSDW: folded(narrow(32, func(v int64) uint64 { return clamp(v, 16) })),
		isa.PACKUSWB: folded(narrow(16, func(v int64) uint64 { return clampUnsigned(v, 8) })),
		isa.PACKUSDW: folded(narrow(32, func(v int64) uint64 { return clampUnsigned(v, 16) })),

		isa.PSHUFB: both(shuffleBytesMM, shuffleBytes),
		isa.PSHUFW: both(func(_, b uint64, imm uint8) uint64 { return shuffleWords(b, imm) }, nil),
		isa.PSHUFD: vector(func(_, b xmm, imm uint8) xmm { return shuffle32(b, b, imm) }),
		isa.SHUFPS: vector(shuffle32), isa.SHUFPD: vector(shuffle64),
		isa.PSHUFLW: vector(func(_, b xmm, imm uint8) xmm { return xmm{shuffleWords(b.lo, imm), b.hi} }),
		isa.PSHUFHW: vector(func(_, b xmm, imm uint8) xmm { return xmm{b.lo, shuffleWords(b.hi, imm)} }),

		isa.PALIGNR: both(alignMM, align),

		isa.PBLENDW: vector(blend(16)), isa.BLENDPS: vector(blend(32)), isa.BLENDPD: vector(blend(64)),

		isa.PMOVSXBW: vector(extend(8, 16, true)), isa.PMOVSXBD: vector(extend(8, 32, true)), isa.PMOVSXBQ: vector(extend(8, 64, true)),
		isa.PMOVSXWD: vector(extend(16, 32, true)), isa.PMOVSXWQ: vector(extend(16, 64, true)), isa.PMOVSXDQ: vector(extend(32, 64, true)),
		isa.PMOVZXBW: vector(extend(8, 16, false)), isa.PMOVZXBD: vector(extend(8, 32, false)), isa.PMOVZXBQ: vector(extend(8, 64, false)),
		isa.PMOVZXWD: vector(extend(16, 32, false)), isa.PMOVZXWQ: vector(extend(16, 64, false)), isa.PMOVZXDQ: vector(extend(32, 64, false)),
	})
	register(map[isa.Op]handler{
		isa.PSLLDQ: shiftBytes(-1), isa.PSRLDQ: shiftBytes(1), isa.INSERTPS: hInsertps,
		isa.PBLENDVB: vector0(blendBy(top8)), isa.BLENDVPS: vector0(blendBy(top32)), isa.BLENDVPD: vector0(blendBy(1 << 63)),
	})
}

var (
	lowQwords  = vector(func(a, b xmm, _ uint8) xmm { return xmm{a.lo, b.lo} })
	highQwords = vector(func(a, b xmm, _ uint8) xmm { return xmm{a.hi, b.hi} })
)

// interleaveLow makes PUNPCKLxx. The MMX forms read only half of their memory
// operand.
func interleaveLow(w uint) vec {
	lo, hi := lower(w), upper(w)
	return both(
		func(a, b uint64, _ uint8) uint64 { return lo(a, b) },
		func(a, b xmm, _ uint8) xmm { return xmm{lo(a.lo, b.lo), hi(a.lo, b.lo)} },
	)
}

func interleaveHigh(w uint) vec {
	lo, hi := lower(w), upper(w)
	return both(
		func(a, b uint64, _ uint8) uint64 { return hi(a, b) },
		func(a, b xmm, _ uint8) xmm { return xmm{lo(a.hi, b.hi), hi(a.hi, b.hi)} },
	)
}

// shuffleBytes is PSHUFB: each control byte of b chooses a byte of a, or zero.
func shuffleBytes(a, b xmm, _ uint8) xmm {
	from, to := a.bytes(), b.bytes()
	for i, ctl := range to {
		to[i] = from[ctl&15] &^ uint8(int8(ctl)>>7)
	}
	return fromBytes(to)
}

func shuffleBytesMM(a, b uint64, _ uint8) (r uint64) {
	for s := uint(0); s < 64; s += 8 {
		if ctl := b >> s; ctl&0x80 == 0 {
			r |= a >> (ctl & 7 * 8) & 0xff << s
		}
	}
	return r
}

// shuffleWords puts the word that each two bits of imm name in their place.
func shuffleWords(b uint64, imm uint8) (r uint64) {
	for s := uint(0); s < 64; s += 16 {
		r |= b >> (imm & 3 * 16) & 0xffff << s
		imm >>= 2
	}
	return r
}

// shuffle32 takes two doublewords of a and then two of b.
func shuffle32(a, b xmm, imm uint8) xmm {
	at := func(s uint) uint { return uint(imm>>s) & 3 }
	return xmm{a.lane(at(0), 32) | a.lane(at(2), 32)<<32, b.lane(at(4), 32) | b.lane(at(6), 32)<<32}
}

func shuffle64(a, b xmm, imm uint8) xmm {
	return xmm{a.lane(uint(imm&1), 64), b.lane(uint(imm>>1&1), 64)}
}

// shr shifts a whole register right by n bits, left if n is negative.
func (x xmm) shr(n int) xmm {
	switch {
	case n <= -64:
		return xmm{0, x.lo << (-n - 64)}
	case n < 0:
		return xmm{x.lo << -n, x.hi<<-n | x.lo>>(64+n)}
	case n < 64:
		return xmm{x.lo>>n | x.hi<<(64-n), x.hi >> n}
	}
	return xmm{x.hi >> (n - 64), 0}
}

// align is PALIGNR: sixteen bytes of a:b from byte imm.
func align(a, b xmm, imm uint8) xmm {
	n := 8 * int(imm)
	lo, hi := b.shr(n), a.shr(n-128)
	return xmm{lo.lo | hi.lo, lo.hi | hi.hi}
}

func alignMM(a, b uint64, imm uint8) uint64 {
	return xmm{b, a}.shr(8 * int(imm)).lo
}

// shiftBytes makes PSLLDQ and PSRLDQ.
func shiftBytes(dir int) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		c.setXMM(in.RM, c.xmm(in.RM).shr(dir*8*int(in.Imm&0xff)))
		return true
	}
}

// blend takes the lanes of b whose bit is set in the immediate.
func blend(w uint) func(a, b xmm, imm uint8) xmm {
	return func(a, b xmm, imm uint8) xmm {
		for i := uint(0); i < 128/w; i++ {
			if imm>>i&1 != 0 {
				a = a.setLane(i, w, b.lane(i, w))
			}
		}
		return a
	}
}

// blendBy takes the lanes of b whose top bit is set in XMM0.
func blendBy(top uint64) func(a, b, x0 xmm) xmm {
	w := widthOf(top)
	spread := func(t uint64) uint64 { return fill(t&top, w) }
	return func(a, b, x0 xmm) xmm {
		lo, hi := spread(x0.lo), spread(x0.hi)
		return xmm{a.lo&^lo | b.lo&lo, a.hi&^hi | b.hi&hi}
	}
}

// hInsertps chooses the source lane only of a register [SDM 2 INSERTPS].
func hInsertps(c *CPU, in *isa.Inst) bool {
	if !c.useSSE() {
		return false
	}
	b, ok := c.srcXMM(in, 1)
	if !ok {
		return false
	}
	imm := uint(in.Imm)
	from := imm >> 6 & 3
	if in.Flags&isa.FlagMem != 0 {
		from = 0
	}
	r := c.xmm(in.Reg).setLane(imm>>4&3, 32, b.lane(from, 32))
	for i := uint(0); i < 4; i++ {
		if imm>>i&1 != 0 {
			r = r.setLane(i, 32, 0)
		}
	}
	c.setXMM(in.Reg, r)
	return true
}

// extend widens the low lanes of b.
func extend(from, to uint, signed bool) func(a, b xmm, imm uint8) xmm {
	return func(_, b xmm, _ uint8) (r xmm) {
		for i := uint(0); i < 128/to; i++ {
			v := b.lane(i, from)
			if signed {
				v = uint64(signExtend(v, from))
			}
			r = r.setLane(i, to, v)
		}
		return r
	}
}
