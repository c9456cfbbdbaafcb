package cpu

import "godwit/cpu/isa"

func init() {
	register(map[isa.Op]handler{
		isa.SHL: shift(lzShl), isa.SHR: shift(lzShr), isa.SAR: shift(lzSar),
		isa.ROL: hRol, isa.ROR: hRor, isa.RCL: hRcl, isa.RCR: hRcr,
		isa.SHLD: hShld, isa.SHRD: hShrd,
		isa.BT:  bitTest(func(v, bit uint64) uint64 { return v }),
		isa.BTS: bitTest(func(v, bit uint64) uint64 { return v | bit }),
		isa.BTR: bitTest(func(v, bit uint64) uint64 { return v &^ bit }),
		isa.BTC: bitTest(func(v, bit uint64) uint64 { return v ^ bit }),
	})
}

// shiftCount masks a count to five bits, six for quadwords [SDM 2 SAL].
func shiftCount(n uint64, size int) uint64 {
	if size == 8 {
		return n & 63
	}
	return n & 31
}

// shift makes SHL, SHR, SAR. A count of zero changes no flag. A count beyond
// the size shifts everything out: CF is what a step-by-step shift leaves.
func shift(kind uint8) handler {
	return func(c *CPU, in *isa.Inst) bool {
		n, ok := c.arg(in, 1)
		if !ok {
			return false
		}
		d, ok := c.dst(in, 0)
		if !ok {
			return false
		}
		n = shiftCount(n, d.size)
		a := c.get(in, d)
		r, f, changed := doShift(kind, a, n, d.size)
		if changed || d.mem {
			c.put(in, d, r)
		} else if d.size == 4 {
			c.put(in, d, a) // the upper half is cleared even by a count of 0
		}
		if changed && !c.amd {
			f = intelShift(kind|sizeCode(d.size), a, f)
		}
		if changed {
			c.setStatus(f)
		}
		return true
	}
}

// doShift shifts a by n (already masked) and gives the flags; changed is false
// for a count of 0.
func doShift(kind uint8, a, n uint64, size int) (r, flags uint64, changed bool) {
	if n == 0 {
		return a, 0, false
	}
	w := uint64(8 * size)
	if kind == lzSar {
		s := signExtend(a, uint(w))
		r = uint64(s>>n) & sizeMask(size)
		f := flagsOf(lzLogic|sizeCode(size), r, 0)
		return r, f | flagAF | uint64(s>>(n-1))&1, true
	}
	if n < w {
		f := flagsOf(kind|sizeCode(size), a, n)
		if kind == lzShl {
			return a << n & sizeMask(size), f, true
		}
		return a >> n, f, true
	}
	f := flagsOf(lzLogic|sizeCode(size), 0, 0) | flagAF
	if n == w {
		cf := a & 1
		of := cf << 11 // SHL: top bit of the result (0) differs from CF
		if kind == lzShr {
			cf, of = a>>(w-1), 0
		}
		f |= cf | of
	}
	return 0, f, true
}

// rotFlags sets CF and OF only.
func (c *CPU) rotFlags(cf, of uint64) {
	c.setFlags(flagCF|flagOF, cf&1|of&1<<11)
}

// rotate resolves a rotate's operands. n is masked but not reduced; changed is
// false when nothing but the 32-bit zero extension happens.
func (c *CPU) rotate(in *isa.Inst) (d dest, a, n uint64, ok bool) {
	n, ok = c.arg(in, 1)
	if !ok {
		return
	}
	d, ok = c.dst(in, 0)
	if !ok {
		return
	}
	return d, c.get(in, d), shiftCount(n, d.size), true
}

// rotated sets the flags of ROL and ROR by n: each vendor has an OF of its own.
func (c *CPU) rotated(in *isa.Inst, n, cf, amd, intel uint64) {
	switch {
	case n == 0:
	case c.amd:
		c.rotFlags(cf, amd)
	case n != 1 && isa.Rows[in.Row].Args[1] == isa.ArgImm && in.Flags&isa.FlagMem == 0:
		c.setFlags(flagCF, cf)
	default:
		c.rotFlags(cf, intel)
	}
}

func hRol(c *CPU, in *isa.Inst) bool {
	d, a, n, ok := c.rotate(in)
	if !ok {
		return false
	}
	w := uint64(8 * d.size)
	k := n % w
	r := (a<<k | a>>(w-k)) & sizeMask(d.size)
	c.put(in, d, r)
	c.rotated(in, n, r, r>>(w-1)^r, a>>(w-1)^a>>(w-2))
	return true
}

func hRor(c *CPU, in *isa.Inst) bool {
	d, a, n, ok := c.rotate(in)
	if !ok {
		return false
	}
	w := uint64(8 * d.size)
	k := n % w
	r := (a>>k | a<<(w-k)) & sizeMask(d.size)
	c.put(in, d, r)
	c.rotated(in, n, r>>(w-1), r>>(w-1)^r>>(w-2), a>>(w-1)^a)
	return true
}

// hRcl rotates through CF: a (size+1)-bit rotate.
func hRcl(c *CPU, in *isa.Inst) bool {
	d, a, n, ok := c.rotate(in)
	if !ok {
		return false
	}
	w := uint64(8 * d.size)
	cf := c.carry()
	of := a>>(w-1) ^ a>>(w-2) // Intel's
	for k := n % (w + 1); k > 0; k-- {
		a, cf = (a<<1|cf)&sizeMask(d.size), a>>(w-1)&1
	}
	if c.amd {
		of = a>>(w-1) ^ cf
	}
	return c.rclDone(in, d, n, a, cf, of)
}

func hRcr(c *CPU, in *isa.Inst) bool {
	d, a, n, ok := c.rotate(in)
	if !ok {
		return false
	}
	w := uint64(8 * d.size)
	cf := c.carry()
	of := a>>(w-1) ^ cf // Intel's
	for k := n % (w + 1); k > 0; k-- {
		a, cf = a>>1|cf<<(w-1), a&1
	}
	if c.amd {
		of = a>>(w-1) ^ a>>(w-2)
	}
	return c.rclDone(in, d, n, a, cf, of)
}

// rclDone writes the result of a rotate by n; the destination may be the count.
func (c *CPU) rclDone(in *isa.Inst, d dest, n, a, cf, of uint64) bool {
	c.put(in, d, a)
	if n != 0 && (c.amd || n%uint64(8*d.size+1) != 0) { // Intel's leave OF after whole turns
		c.rotFlags(cf, of)
	}
	return true
}

// double resolves SHLD and SHRD: destination, filler and count.
func (c *CPU) double(in *isa.Inst) (d dest, a, b, n uint64, ok bool) {
	n, ok = c.arg(in, 2)
	if !ok {
		return
	}
	d, ok = c.dst(in, 0)
	if !ok {
		return
	}
	return d, c.get(in, d), c.reg(in, in.Reg, d.size), shiftCount(n, d.size), true
}

// hShld: with 16-bit operands a count above 16 is undefined; see undefined.go.
func hShld(c *CPU, in *isa.Inst) bool {
	d, a, b, n, ok := c.double(in)
	if !ok {
		return false
	}
	if n == 0 {
		c.put(in, d, a)
		return true
	}
	r, f := shld(a, b, n, d.size)
	if !c.amd {
		r, f = intelShld(a, b, n, d.size)
	}
	c.put(in, d, r)
	c.setStatus(f)
	return true
}

func hShrd(c *CPU, in *isa.Inst) bool {
	d, a, b, n, ok := c.double(in)
	if !ok {
		return false
	}
	if n == 0 {
		c.put(in, d, a)
		return true
	}
	r, f := shrd(a, b, n, d.size)
	if !c.amd {
		r, f = intelShrd(a, b, n, d.size)
	}
	c.put(in, d, r)
	c.setStatus(f)
	return true
}

// shld shifts a left by n, 1 to 31 or 63, filling with b from its top.
func shld(a, b, n uint64, size int) (r, flags uint64) {
	w := uint64(8 * size)
	mask := sizeMask(size)
	var cf, of uint64
	if n <= w {
		r = (a<<n | b>>(w-n)) & mask
		cf = a >> (w - n) & 1
		of = r>>(w-1) ^ cf
	} else {
		r = (b<<(n-w) | b>>(2*w-n)) & mask
	}
	if n >= w {
		of = cf
	}
	return r, flagsOf(lzLogic|sizeCode(size), r, 0) | flagAF | cf | of<<11
}

// shrd shifts a right by n, 1 to 31 or 63, filling with b from its bottom.
func shrd(a, b, n uint64, size int) (r, flags uint64) {
	w := uint64(8 * size)
	mask := sizeMask(size)
	var cf uint64
	if n <= w {
		r = (a>>n | b<<(w-n)) & mask
		cf = a >> (n - 1) & 1
	} else {
		r = (b>>(n-w) | b<<(2*w-n)) & mask
	}
	of := (r>>(w-1) ^ r>>(w-2)) & 1
	return r, flagsOf(lzLogic|sizeCode(size), r, 0) | flagAF | cf | of<<11
}

// bitTest makes BT, BTS, BTR, BTC. With a memory operand a register bit number
// is signed and reaches beyond the operand [SDM 2 BT]; BT only reads.
func bitTest(f func(v, bit uint64) uint64) handler {
	return func(c *CPU, in *isa.Inst) bool {
		n, ok := c.arg(in, 1)
		if !ok {
			return false
		}
		size := in.ArgSize(0)
		w := uint64(8 * size)
		bit := uint64(1) << (n & (w - 1))
		var v uint64
		if in.Op == isa.BT {
			if v, ok = c.bitOperand(in, n, size); !ok {
				return false
			}
		} else {
			d, ok := c.bitDest(in, n, size)
			if !ok {
				return false
			}
			v = c.get(in, d)
			c.put(in, d, f(v, bit))
		}
		c.setFlags(flagCF, b2u(v&bit != 0))
		return true
	}
}

// bitEA is the address of the operand that holds bit n.
func (c *CPU) bitEA(in *isa.Inst, n uint64, size int) uint64 {
	ea := c.ea(in)
	if isa.Rows[in.Row].Args[1] == isa.ArgReg {
		s := signExtend(n, uint(8*size))
		ea += uint64(s >> (3 + sizeCode(size)) * int64(size))
		ea &= addrMask(in.AddrSize)
	}
	return ea
}

func (c *CPU) bitOperand(in *isa.Inst, n uint64, size int) (uint64, bool) {
	if in.Flags&isa.FlagMem == 0 {
		return c.reg(in, in.RM, size), true
	}
	return c.load(in.Seg, c.bitEA(in, n, size), size)
}

func (c *CPU) bitDest(in *isa.Inst, n uint64, size int) (dest, bool) {
	if in.Flags&isa.FlagMem == 0 {
		return dest{n: in.RM, size: size}, true
	}
	return c.dstMem(in.Seg, c.bitEA(in, n, size), size)
}
