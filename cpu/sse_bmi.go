package cpu

import (
	"hash/crc32"
	"math/bits"

	"godwit/cpu/isa"
)

// Instructions of the vector generations that work on general registers:
// CRC32, ADX, BMI1 and BMI2 [SDM 1 12.7.4, SDM 2].

func init() {
	register(map[isa.Op]handler{
		isa.CRC32: hCrc32, isa.ADCX: addWith(flagCF), isa.ADOX: addWith(flagOF),

		isa.ANDN: bmi(func(size int, a, b uint64) (r, cf uint64) { return b &^ a, 0 }),
		isa.BLSR: bmi(func(size int, _, b uint64) (r, cf uint64) { return b & (b - 1), b2u(b == 0) }),
		isa.BLSI: bmi(func(size int, _, b uint64) (r, cf uint64) { return b & -b, b2u(b != 0) }),

		isa.BLSMSK: bmi(func(size int, _, b uint64) (r, cf uint64) { return b ^ (b - 1), b2u(b == 0) }),
		isa.BZHI:   bmi(zeroHigh),
		isa.BEXTR: bmi(func(size int, a, b uint64) (r, cf uint64) {
			return b >> (a & 0xff) & (1<<(a>>8&0xff) - 1), 0
		}),

		isa.PDEP: bmiQuiet(deposit), isa.PEXT: bmiQuiet(gather),
		isa.SHLX: bmiQuiet(func(size int, a, b uint64) uint64 { return b << shiftCount(a, size) }),
		isa.SHRX: bmiQuiet(func(size int, a, b uint64) uint64 { return b >> shiftCount(a, size) }),
		isa.SARX: bmiQuiet(func(size int, a, b uint64) uint64 {
			return uint64(signExtend(b, uint(8*size)) >> shiftCount(a, size))
		}),
		isa.RORX: hRorx, isa.MULX: hMulx,
	})
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hCrc32 adds the operand's bytes to a CRC-32C without the usual inversions.
func hCrc32(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	if !ok {
		return false
	}
	crc := uint32(c.R[in.Reg&15])
	for i := 0; i < in.ArgSize(1); i++ {
		crc = castagnoli[uint8(crc)^uint8(v)] ^ crc>>8
		v >>= 8
	}
	c.setReg(in, in.Reg, 4, uint64(crc))
	return true
}

// addWith makes ADCX and ADOX: additions whose carry is the given flag.
func addWith(flag uint64) handler {
	return func(c *CPU, in *isa.Inst) bool {
		b, ok := c.arg(in, 1)
		if !ok {
			return false
		}
		size := in.ArgSize(0)
		r, carry := bits.Add64(c.reg(in, in.Reg, size), b, b2u(c.RFLAGS&flag != 0))
		if size == 4 {
			carry = r >> 32
		}
		c.setReg(in, in.Reg, size, r)
		c.setFlags(flag, carry*flag)
		return true
	}
}

// bmiArgs reads a VEX-encoded instruction's operands: a is the one by VEX.vvvv,
// b that by ModRM.rm.
func (c *CPU) bmiArgs(in *isa.Inst) (a, b uint64, ok bool) {
	if !c.protected() {
		return 0, 0, c.ud()
	}
	for i, kind := range isa.Rows[in.Row].Args {
		if kind == isa.ArgRM {
			b, ok = c.arg(in, i)
		}
	}
	return c.reg(in, in.Vvvv, in.ArgSize(0)), b, ok
}

// bmiDest is the register of operand 0.
func bmiDest(in *isa.Inst) uint8 {
	if isa.Rows[in.Row].Args[0] == isa.ArgVvvv {
		return in.Vvvv
	}
	return in.Reg
}

// bmi makes an instruction that sets SF, ZF and CF by its result and clears OF.
func bmi(f func(size int, a, b uint64) (r, cf uint64)) handler {
	return func(c *CPU, in *isa.Inst) bool {
		a, b, ok := c.bmiArgs(in)
		if !ok {
			return false
		}
		size := in.ArgSize(0)
		r, cf := f(size, a, b)
		r &= sizeMask(size)
		c.setReg(in, bmiDest(in), size, r)
		flags := flagsOf(lzLogic|sizeCode(size), r, 0) | cf
		switch { // see undefined.go
		case in.Op == isa.BEXTR && c.amd:
			flags = flags&^flagSF | flagAF
		case in.Op == isa.BEXTR:
			flags &^= flagSF | flagPF
		case !c.amd:
			flags &^= flagPF
		}
		c.setStatus(flags)
		return true
	}
}

// bmiQuiet makes an instruction that leaves the flags alone.
func bmiQuiet(f func(size int, a, b uint64) uint64) handler {
	return func(c *CPU, in *isa.Inst) bool {
		a, b, ok := c.bmiArgs(in)
		if !ok {
			return false
		}
		size := in.ArgSize(0)
		c.setReg(in, in.Reg, size, f(size, a, b))
		return true
	}
}

func zeroHigh(size int, a, b uint64) (r, cf uint64) {
	n := a & 0xff
	return b & (1<<n - 1), b2u(n >= uint64(8*size))
}

// deposit is PDEP: low bits of a go to the places of the mask's bits.
func deposit(_ int, a, mask uint64) (r uint64) {
	for ; mask != 0; mask &= mask - 1 {
		r |= mask & -mask & -(a & 1)
		a >>= 1
	}
	return r
}

// gather is PEXT: the bits of a in the mask's places become low bits.
func gather(_ int, a, mask uint64) (r uint64) {
	for i := 0; mask != 0; i++ {
		r |= a >> bits.TrailingZeros64(mask) & 1 << i
		mask &= mask - 1
	}
	return r
}

func hRorx(c *CPU, in *isa.Inst) bool {
	_, b, ok := c.bmiArgs(in)
	if !ok {
		return false
	}
	n := int(in.Imm & 0xff)
	r := uint64(bits.RotateLeft32(uint32(b), -n))
	if in.ArgSize(0) == 8 {
		r = bits.RotateLeft64(b, -n)
	}
	c.setReg(in, in.Reg, in.ArgSize(0), r)
	return true
}

// hMulx writes the high half last: it stays if both destinations are the same
// [SDM 2 MULX].
func hMulx(c *CPU, in *isa.Inst) bool {
	_, b, ok := c.bmiArgs(in)
	if !ok {
		return false
	}
	size := in.ArgSize(0)
	hi, lo := mulWide(c.reg(in, RDX, size), b, size)
	c.setReg(in, in.Vvvv, size, lo)
	c.setReg(in, in.Reg, size, hi)
	return true
}
