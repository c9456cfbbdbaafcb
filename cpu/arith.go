package cpu

import (
	"math/bits"

	"godwit/cpu/isa"
)

func init() {
	register(map[isa.Op]handler{
		isa.ADD: alu(lzAdd, true), isa.SUB: alu(lzSub, true), isa.CMP: alu(lzSub, false),
		isa.ADC: aluCarry(lzAdd, lzAdc), isa.SBB: aluCarry(lzSub, lzSbb),
		isa.AND:  logic(func(a, b uint64) uint64 { return a & b }),
		isa.OR:   logic(func(a, b uint64) uint64 { return a | b }),
		isa.XOR:  logic(func(a, b uint64) uint64 { return a ^ b }),
		isa.TEST: hTest, isa.INC: incDec(lzInc, 1), isa.DEC: incDec(lzDec, ^uint64(0)),
		isa.NEG: hNeg, isa.NOT: hNot,
		isa.MUL: hMul, isa.IMUL: hImul, isa.DIV: hDiv, isa.IDIV: hIdiv,
		isa.CBW: hCbw, isa.CWD: hCwd,
		isa.XADD: hXadd, isa.CMPXCHG: hCmpxchg, isa.CMPXCHG8B: hCmpxchg8b, isa.CMPXCHG16B: hCmpxchg16b,
		isa.BSWAP: hBswap, isa.BSF: hBsf, isa.BSR: hBsr,
		isa.TZCNT: hTzcnt, isa.LZCNT: hLzcnt, isa.POPCNT: hPopcnt,
	})
}

// sizeCode is log2 of an operand size.
func sizeCode(size int) uint8 { return uint8(bits.TrailingZeros8(uint8(size))) }

// alu makes the handler of ADD, SUB and CMP.
func alu(kind uint8, writes bool) handler {
	return func(c *CPU, in *isa.Inst) bool {
		b, ok := c.arg(in, 1)
		if !ok {
			return false
		}
		size := in.ArgSize(0)
		b &= sizeMask(size)
		if !writes {
			a, ok := c.arg(in, 0)
			if ok {
				c.setStatus(flagsOf(kind|sizeCode(size), a, b))
			}
			return ok
		}
		d, ok := c.dst(in, 0)
		if !ok {
			return false
		}
		a := c.get(in, d)
		r := a + b
		if kind == lzSub {
			r = a - b
		}
		c.put(in, d, r)
		c.setStatus(flagsOf(kind|sizeCode(size), a, b))
		return true
	}
}

// aluCarry makes the handlers of ADC and SBB.
func aluCarry(kind, kindCarry uint8) handler {
	return func(c *CPU, in *isa.Inst) bool {
		b, ok := c.arg(in, 1)
		if !ok {
			return false
		}
		d, ok := c.dst(in, 0)
		if !ok {
			return false
		}
		b &= sizeMask(d.size)
		a, cf, k := c.get(in, d), c.carry(), kind
		if cf != 0 {
			k = kindCarry
		}
		r := a + b + cf
		if kind == lzSub {
			r = a - b - cf
		}
		c.put(in, d, r)
		c.setStatus(flagsOf(k|sizeCode(d.size), a, b))
		return true
	}
}

func logic(f func(a, b uint64) uint64) handler {
	return func(c *CPU, in *isa.Inst) bool {
		b, ok := c.arg(in, 1)
		if !ok {
			return false
		}
		d, ok := c.dst(in, 0)
		if !ok {
			return false
		}
		r := f(c.get(in, d), b) & sizeMask(d.size)
		c.put(in, d, r)
		c.setStatus(flagsOf(lzLogic|sizeCode(d.size), r, 0))
		return true
	}
}

func hTest(c *CPU, in *isa.Inst) bool {
	a, ok := c.arg(in, 0)
	if !ok {
		return false
	}
	b, ok := c.arg(in, 1)
	if ok {
		size := in.ArgSize(0)
		c.setStatus(flagsOf(lzLogic|sizeCode(size), a&b&sizeMask(size), 0))
	}
	return ok
}

func incDec(kind uint8, by uint64) handler {
	return func(c *CPU, in *isa.Inst) bool {
		d, ok := c.dst(in, 0)
		if !ok {
			return false
		}
		a := c.get(in, d)
		c.put(in, d, a+by)
		c.setStatus(flagsOf(kind|sizeCode(d.size), a, c.carry()))
		return true
	}
}

func hNeg(c *CPU, in *isa.Inst) bool {
	d, ok := c.dst(in, 0)
	if !ok {
		return false
	}
	a := c.get(in, d)
	c.put(in, d, -a)
	c.setStatus(flagsOf(lzSub|sizeCode(d.size), 0, a))
	return true
}

func hNot(c *CPU, in *isa.Inst) bool {
	d, ok := c.dst(in, 0)
	if ok {
		c.put(in, d, ^c.get(in, d))
	}
	return ok
}

// setPair writes the double-width result of MUL and DIV: AX for bytes, else
// (r)DX:(r)AX.
func (c *CPU) setPair(in *isa.Inst, size int, lo, hi uint64) {
	if size == 1 {
		c.setReg(in, RAX, 2, lo&0xff|hi<<8&0xff00)
		return
	}
	c.setReg(in, RAX, size, lo)
	c.setReg(in, RDX, size, hi)
}

// pair reads the double-width dividend.
func (c *CPU) pair(in *isa.Inst, size int) (lo, hi uint64) {
	if size == 1 {
		return c.R[RAX] & 0xff, c.R[RAX] >> 8 & 0xff
	}
	return c.reg(in, RAX, size), c.reg(in, RDX, size)
}

func hMul(c *CPU, in *isa.Inst) bool {
	b, ok := c.arg(in, 0)
	if !ok {
		return false
	}
	size := in.ArgSize(0)
	hi, lo := mulWide(c.reg(in, RAX, size), b, size)
	c.setPair(in, size, lo, hi)
	c.mulFlags(hi != 0)
	c.productFlags(size, lo)
	return true
}

// mulWide multiplies unsigned numbers of size bytes.
func mulWide(a, b uint64, size int) (hi, lo uint64) {
	hi, lo = bits.Mul64(a, b)
	if size < 8 {
		w := uint(8 * size)
		return lo >> w & sizeMask(size), lo & sizeMask(size)
	}
	return hi, lo
}

// imulWide multiplies signed numbers of size bytes.
func imulWide(a, b uint64, size int) (hi, lo uint64) {
	w := uint(8 * size)
	x, y := signExtend(a, w), signExtend(b, w)
	hi, lo = bits.Mul64(uint64(x), uint64(y))
	hi -= uint64(x>>63)&uint64(y) + uint64(y>>63)&uint64(x)
	if size < 8 {
		return lo >> w & sizeMask(size), lo & sizeMask(size)
	}
	return hi, lo
}

// hImul is the one-, two- and three-operand form.
func hImul(c *CPU, in *isa.Inst) bool {
	size := in.ArgSize(0)
	args := &isa.Rows[in.Row].Args
	if args[1] == isa.ArgNone {
		b, ok := c.arg(in, 0)
		if !ok {
			return false
		}
		hi, lo := imulWide(c.reg(in, RAX, size), b, size)
		c.setPair(in, size, lo, hi)
		c.imulFlags(size, lo, hi)
		return true
	}
	i := 0
	if args[2] != isa.ArgNone {
		i = 1
	}
	a, ok := c.arg(in, i)
	if !ok {
		return false
	}
	b, ok := c.arg(in, i+1)
	if !ok {
		return false
	}
	hi, lo := imulWide(a, b, size)
	c.setReg(in, in.Reg, size, lo)
	c.imulFlags(size, lo, hi)
	return true
}

// imulFlags: CF and OF tell that the high half is not the low half's sign.
func (c *CPU) imulFlags(size int, lo, hi uint64) {
	sign := uint64(signExtend(lo, uint(8*size))>>63) & sizeMask(size)
	c.mulFlags(hi != sign)
	c.productFlags(size, lo)
}

// mulFlags sets CF and OF when the low half does not hold the product, and
// leaves the other flags.
func (c *CPU) mulFlags(more bool) { c.rotFlags(b2u(more), b2u(more)) }

// productFlags are the other flags after mulFlags, of the low half of a product;
// see undefined.go.
func (c *CPU) productFlags(size int, lo uint64) {
	if !c.amd {
		c.intelProduct(sizeCode(size), lo)
	}
}

// divFlags are the flags that a division leaves; see undefined.go.
func (c *CPU) divFlags() {
	if c.amd {
		c.setFlags(flagPF|flagAF|flagZF|flagSF, flagAF)
	}
}

func hDiv(c *CPU, in *isa.Inst) bool {
	d, ok := c.arg(in, 0)
	if !ok {
		return false
	}
	size := in.ArgSize(0)
	lo, hi := c.pair(in, size)
	if hi >= d { // zero included: the quotient does not fit
		return c.raise(vecDE)
	}
	var q, r uint64
	if size == 8 {
		q, r = bits.Div64(hi, lo, d)
	} else {
		n := hi<<(8*uint(size)) | lo
		q, r = n/d, n%d
	}
	c.setPair(in, size, q, r)
	c.divFlags()
	return true
}

func hIdiv(c *CPU, in *isa.Inst) bool {
	d, ok := c.arg(in, 0)
	if !ok {
		return false
	}
	size := in.ArgSize(0)
	w := uint(8 * size)
	lo, hi := c.pair(in, size)
	negN, negD := hi>>(w-1) != 0, d>>(w-1) != 0
	if negD {
		d = -d & sizeMask(size)
	}
	if negN {
		lo = -lo & sizeMask(size)
		hi = ^hi & sizeMask(size)
		if lo == 0 {
			hi = (hi + 1) & sizeMask(size)
		}
	}
	if hi >= d {
		return c.raise(vecDE)
	}
	var q, r uint64
	if size == 8 {
		q, r = bits.Div64(hi, lo, d)
	} else {
		n := hi<<w | lo
		q, r = n/d, n%d
	}
	max := uint64(1) << (w - 1) // magnitude of the most negative quotient
	if q > max || (q == max && negN == negD) {
		return c.raise(vecDE)
	}
	if negN != negD {
		q = -q
	}
	if negN {
		r = -r
	}
	c.setPair(in, size, q&sizeMask(size), r&sizeMask(size))
	c.divFlags()
	return true
}

// hCbw is CBW, CWDE, CDQE.
func hCbw(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	v := signExtend(c.R[RAX], uint(4*size))
	c.setReg(in, RAX, size, uint64(v))
	return true
}

// hCwd is CWD, CDQ, CQO.
func hCwd(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	c.setReg(in, RDX, size, uint64(signExtend(c.R[RAX], uint(8*size))>>63))
	return true
}

func hXadd(c *CPU, in *isa.Inst) bool {
	d, ok := c.dst(in, 0)
	if !ok {
		return false
	}
	a, b := c.get(in, d), c.reg(in, in.Reg, d.size)
	c.setReg(in, in.Reg, d.size, a)
	c.put(in, d, a+b)
	c.setStatus(flagsOf(lzAdd|sizeCode(d.size), a, b))
	return true
}

// hCmpxchg writes its destination whether or not it was equal [SDM 2 CMPXCHG].
func hCmpxchg(c *CPU, in *isa.Inst) bool {
	d, ok := c.dst(in, 0)
	if !ok {
		return false
	}
	acc, old := c.reg(in, RAX, d.size), c.get(in, d)
	if acc == old {
		c.put(in, d, c.reg(in, in.Reg, d.size))
	} else {
		if d.mem {
			c.put(in, d, old)
		}
		c.setReg(in, RAX, d.size, old)
	}
	c.setStatus(flagsOf(lzSub|sizeCode(d.size), acc, old))
	return true
}

func hCmpxchg8b(c *CPU, in *isa.Inst) bool {
	d, ok := c.dstMem(in.Seg, c.ea(in), 8)
	if !ok {
		return false
	}
	old := c.get(in, d)
	want := c.R[RDX]<<32 | c.R[RAX]&0xffffffff
	if old == want {
		c.put(in, d, c.R[RCX]<<32|c.R[RBX]&0xffffffff)
		c.setFlags(flagZF, flagZF)
		return true
	}
	c.put(in, d, old)
	c.setReg(in, RAX, 4, old)
	c.setReg(in, RDX, 4, old>>32)
	c.setFlags(flagZF, 0)
	return true
}

func hCmpxchg16b(c *CPU, in *isa.Inst) bool {
	la, ok := c.linear128(in, accWrite, true)
	if !ok {
		return false
	}
	if !c.probe(la, 16, accWrite, c.mmu) {
		return false
	}
	lo, _ := c.readLin(la, 8, c.mmu)
	hi, _ := c.readLin(la+8, 8, c.mmu)
	eq := lo == c.R[RAX] && hi == c.R[RDX]
	if eq {
		c.writeLin(la, 8, c.R[RBX], c.mmu)
		c.writeLin(la+8, 8, c.R[RCX], c.mmu)
	} else {
		c.writeLin(la, 8, lo, c.mmu)
		c.writeLin(la+8, 8, hi, c.mmu)
		c.R[RAX], c.R[RDX] = lo, hi
	}
	c.setFlags(flagZF, b2u(eq)<<6)
	return true
}

// hBswap of a 16-bit register is undefined; it clears it as silicon does.
func hBswap(c *CPU, in *isa.Inst) bool {
	switch in.OpSize {
	case 8:
		c.R[in.Reg&15] = bits.ReverseBytes64(c.R[in.Reg&15])
	case 4:
		c.R[in.Reg&15] = uint64(bits.ReverseBytes32(uint32(c.R[in.Reg&15])))
	default:
		c.setReg(in, in.Reg, 2, 0)
	}
	return true
}

// hBsf keeps its destination when the source is zero, as every processor does.
func hBsf(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	return ok && c.scanned(in, v, uint64(bits.TrailingZeros64(v)))
}

func hBsr(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	return ok && c.scanned(in, v, uint64(63-bits.LeadingZeros64(v)))
}

// scanned ends BSF and BSR, which found bit n of v.
func (c *CPU) scanned(in *isa.Inst, v, n uint64) bool {
	if v == 0 {
		c.setStatus(flagZF | flagPF)
		return true
	}
	c.setReg(in, in.Reg, int(in.OpSize), n)
	c.setStatus(uint64(parity[n]))
	return true
}

// count makes the flags of TZCNT and LZCNT: CF for a zero source, ZF for a zero
// result. OF: see undefined.go.
func (c *CPU) count(in *isa.Inst, n int, v uint64) bool {
	c.setReg(in, in.Reg, int(in.OpSize), uint64(n))
	f := b2u(v == 0) | b2u(n == 0)<<6
	if c.amd {
		c.setFlags(flagsStatus&^flagOF, f)
	} else {
		c.setStatus(f)
	}
	return true
}

func hTzcnt(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	return ok && c.count(in, min(bits.TrailingZeros64(v), 8*int(in.OpSize)), v)
}

func hLzcnt(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	return ok && c.count(in, bits.LeadingZeros64(v)-(64-8*int(in.OpSize)), v)
}

func hPopcnt(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	if !ok {
		return false
	}
	c.setReg(in, in.Reg, int(in.OpSize), uint64(bits.OnesCount64(v)))
	c.setStatus(b2u(v == 0) << 6)
	return true
}
