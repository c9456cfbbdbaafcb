package cpu

import (
	"math/bits"

	"godwit/cpu/isa"
)

func init() {
	register(map[isa.Op]handler{
		isa.MOVAPS: moveAligned, isa.MOVAPD: moveAligned, isa.MOVDQA: moveAligned,
		isa.MOVNTPS: moveAligned, isa.MOVNTPD: moveAligned, isa.MOVNTDQ: moveAligned, isa.MOVNTDQA: moveAligned,
		isa.MOVUPS: moveUnaligned, isa.MOVUPD: moveUnaligned, isa.MOVDQU: moveUnaligned, isa.LDDQU: moveUnaligned,
		isa.MOVD: moveScalar, isa.MOVQ: moveScalar, isa.MOVNTQ: moveScalar, isa.MOVDQ2Q: moveScalar, isa.MOVQ2DQ: moveScalar,
		isa.MOVSS: mergeScalar(0xffffffff), isa.MOVSD: mergeScalar(^uint64(0)),
		isa.MOVNTI: func(c *CPU, in *isa.Inst) bool { return c.setArg(in, 0, c.reg(in, in.Reg, in.ArgSize(1))) },

		isa.MOVLPS: moveHalf(0), isa.MOVLPD: moveHalf(0), isa.MOVHPS: moveHalf(1), isa.MOVHPD: moveHalf(1),

		isa.MOVMSKPS: maskTo(signs32), isa.MOVMSKPD: maskTo(signs64), isa.PMOVMSKB: hPmovmskb,
		isa.MASKMOVQ: hMaskmov, isa.MASKMOVDQU: hMaskmov,

		isa.PEXTRB: extract(8), isa.PEXTRW: extract(16), isa.PEXTRD: extract(32), isa.PEXTRQ: extract(64),
		isa.EXTRACTPS: extract(32),
		isa.PINSRB:    insert(8), isa.PINSRW: insert(16), isa.PINSRD: insert(32), isa.PINSRQ: insert(64),
	})
	registerVec(map[isa.Op]vec{
		isa.MOVHLPS:  vector(func(a, b xmm, _ uint8) xmm { return xmm{b.hi, a.hi} }),
		isa.MOVLHPS:  vector(func(a, b xmm, _ uint8) xmm { return xmm{a.lo, b.lo} }),
		isa.MOVDDUP:  vector(func(_, b xmm, _ uint8) xmm { return xmm{b.lo, b.lo} }),
		isa.MOVSLDUP: packed(func(_, b uint64) uint64 { return b&0xffffffff | b<<32 }),
		isa.MOVSHDUP: packed(func(_, b uint64) uint64 { return b>>32 | b&^0xffffffff }),
	})
}

// moveWhole makes the moves of whole XMM registers, in both directions.
func moveWhole(mustAlign bool) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		load := isa.Rows[in.Row].Args[0] == isa.ArgXReg
		switch {
		case in.Flags&isa.FlagMem == 0 && load:
			c.setXMM(in.Reg, c.xmm(in.RM))
		case in.Flags&isa.FlagMem == 0:
			c.setXMM(in.RM, c.xmm(in.Reg))
		case load:
			x, ok := c.load128(in, mustAlign)
			if ok {
				c.setXMM(in.Reg, x)
			}
			return ok
		default:
			return c.store128(in, c.xmm(in.Reg), mustAlign)
		}
		return true
	}
}

var moveAligned, moveUnaligned = moveWhole(true), moveWhole(false)

// moveScalar is MOVD, MOVQ and what moves a quadword between register files. An
// XMM destination is zero-extended.
func moveScalar(c *CPU, in *isa.Inst) bool {
	if !c.useVec(in) {
		return false
	}
	v, ok := c.scalarArg(in)
	if !ok || !c.setScalarArg(in, v) {
		return false
	}
	if isMMX(in) {
		c.enterMMX()
	}
	return true
}

// scalarArg reads operand 1 of any kind.
func (c *CPU) scalarArg(in *isa.Inst) (uint64, bool) {
	switch isa.Rows[in.Row].Args[1] {
	case isa.ArgMMReg:
		return c.mm(in.Reg), true
	case isa.ArgMMRM:
		return c.srcMM(in, 1)
	case isa.ArgXReg:
		return c.xmm(in.Reg).lo, true
	case isa.ArgXRM:
		x, ok := c.srcXMM(in, 1)
		return x.lo, ok
	}
	return c.arg(in, 1)
}

// setScalarArg writes operand 0 of any kind.
func (c *CPU) setScalarArg(in *isa.Inst, v uint64) bool {
	kind := isa.Rows[in.Row].Args[0]
	if in.Flags&isa.FlagMem != 0 && kind != isa.ArgMMReg && kind != isa.ArgXReg {
		return c.store(in.Seg, c.ea(in), in.ArgSize(0), v)
	}
	switch kind {
	case isa.ArgMMReg:
		c.setMM(in.Reg, v)
	case isa.ArgMMRM:
		c.setMM(in.RM, v)
	case isa.ArgXReg:
		c.setXMM(in.Reg, xmm{lo: v})
	case isa.ArgXRM:
		c.setXMM(in.RM, xmm{lo: v})
	default:
		c.setReg(in, in.RM, in.ArgSize(0), v)
	}
	return true
}

// mergeScalar makes MOVSS and MOVSD: between registers they keep the rest of
// the destination, from memory they clear it.
func mergeScalar(mask uint64) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		dst, src := in.Reg, in.RM
		load := isa.Rows[in.Row].Args[0] == isa.ArgXReg
		if !load {
			dst, src = src, dst
		}
		switch {
		case in.Flags&isa.FlagMem == 0:
			d := &c.V[dst&15]
			d[0] = d[0]&^mask | c.V[src&15][0]&mask
		case load:
			x, ok := c.srcXMM(in, 1)
			if ok {
				c.setXMM(in.Reg, x)
			}
			return ok
		default:
			return c.store(in.Seg, c.ea(in), in.ArgSize(0), c.V[src&15][0])
		}
		return true
	}
}

// moveHalf makes the moves between memory and quadword i of a register.
func moveHalf(i int) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		q := &c.V[in.Reg&15][i]
		if isa.Rows[in.Row].Args[0] != isa.ArgXReg {
			return c.store(in.Seg, c.ea(in), 8, *q)
		}
		v, ok := c.load(in.Seg, c.ea(in), 8)
		if ok {
			*q = v
		}
		return ok
	}
}

// signs8 gathers the top bits of a quadword's bytes: byte i's comes to bit i of
// the product's top byte.
func signs8(v uint64) uint64 { return v >> 7 & 0x0101010101010101 * 0x0102040810204080 >> 56 }

func signs32(x xmm) uint64 {
	return x.lo>>31&1 | x.lo>>63<<1 | x.hi>>31&1<<2 | x.hi>>63<<3
}

func signs64(x xmm) uint64 { return x.lo>>63 | x.hi>>63<<1 }

// maskTo makes the moves of sign bits to a general register.
func maskTo(f func(xmm) uint64) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		c.setReg(in, in.Reg, 4, f(c.xmm(in.RM)))
		return true
	}
}

func hPmovmskb(c *CPU, in *isa.Inst) bool {
	if !c.useVec(in) {
		return false
	}
	if isMMX(in) {
		c.setReg(in, in.Reg, 4, signs8(c.mm(in.RM)))
		c.enterMMX()
		return true
	}
	x := c.xmm(in.RM)
	c.setReg(in, in.Reg, 4, signs8(x.lo)|signs8(x.hi)<<8)
	return true
}

// hMaskmov is MASKMOVQ and MASKMOVDQU: bytes with a set mask bit go to DS:rDI.
// The whole operand must be writable, even where the mask leaves bytes out,
// which the manual allows [SDM 2 MASKMOVDQU].
func hMaskmov(c *CPU, in *isa.Inst) bool {
	if !c.useVec(in) {
		return false
	}
	v, m, size := c.xmm(in.Reg), c.xmm(in.RM), 16
	if isMMX(in) {
		v, m, size = xmm{lo: c.mm(in.Reg)}, xmm{lo: c.mm(in.RM)}, 8
	}
	la, ok := c.linear(in.Seg, c.R[RDI]&addrMask(in.AddrSize), size, accWrite)
	upper, halves := la+8, size == 16 && !c.amd
	if ok && halves { // Intel's processors look there first, and it wraps as addresses do
		upper, ok = c.linear(in.Seg, (c.R[RDI]+8)&addrMask(in.AddrSize), 8, accWrite)
	}
	if !ok || !c.aligned(la, 8) {
		return c.maskmovFault(in)
	}
	if c.inBlock && la&0xfff+uint64(size) > 4096 {
		c.stepReq = true // no write may be refused after the first
		return false
	}
	if halves {
		size = 8
	}
	if halves && !c.probe(upper, 8, accWrite, c.mmu) || !c.probe(la, size, accWrite, c.mmu) {
		return c.maskmovFault(in)
	}
	c.putMasked(la, v.lo, signs8(m.lo))
	c.putMasked(upper, v.hi, signs8(m.hi))
	if isMMX(in) {
		c.enterMMX()
	}
	return true
}

// maskmovFault: even a MASKMOVQ that faults makes the x87 state that of MMX, on
// processors of both vendors.
func (c *CPU) maskmovFault(in *isa.Inst) bool {
	if isMMX(in) && !c.stepReq {
		c.enterMMX()
	}
	return false
}

// putMasked writes the bytes of v whose bit is set in mask to checked memory.
func (c *CPU) putMasked(la, v, mask uint64) {
	for ; mask != 0; mask &= mask - 1 {
		i := uint64(bits.TrailingZeros64(mask))
		c.writeLin(la+i, 1, v>>(8*i)&0xff, c.mmu)
	}
}

// lane gives element i of w bits, and setLane replaces it. i is taken modulo the
// number of elements.
func (x xmm) lane(i, w uint) uint64 {
	q, s := x.lo, i*w&127
	if s >= 64 {
		q = x.hi
	}
	return q >> (s & 63) & (^uint64(0) >> (64 - w))
}

func (x xmm) setLane(i, w uint, v uint64) xmm {
	s, mask := i*w&127, ^uint64(0)>>(64-w)
	q := &x.lo
	if s >= 64 {
		q = &x.hi
	}
	*q = *q&^(mask<<(s&63)) | v&mask<<(s&63)
	return x
}

// extract makes PEXTRx: an element of w bits goes to a general register,
// zero-extended, or to memory.
func extract(w uint) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useVec(in) {
			return false
		}
		n := in.Reg
		if isa.Rows[in.Row].Args[0] == isa.ArgReg { // PEXTRW's older form
			n = in.RM
		}
		if isMMX(in) {
			c.setReg(in, in.Reg, 4, xmm{lo: c.mm(n)}.lane(uint(in.Imm)&3, w))
			c.enterMMX()
			return true
		}
		return c.setArg(in, 0, c.xmm(n).lane(uint(in.Imm)&15, w))
	}
}

// insert makes PINSRx.
func insert(w uint) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useVec(in) {
			return false
		}
		v, ok := c.arg(in, 1)
		if !ok {
			return false
		}
		if isMMX(in) {
			c.setMM(in.Reg, xmm{lo: c.mm(in.Reg)}.setLane(uint(in.Imm)&3, w, v).lo)
			c.enterMMX()
			return true
		}
		c.setXMM(in.Reg, c.xmm(in.Reg).setLane(uint(in.Imm)&15, w, v))
		return true
	}
}
