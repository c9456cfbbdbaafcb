package cpu

import "math/bits"

// Operations whose status flags can be computed later from two operands. The
// lazy form is the operation times four plus log2 of the operand size; operands
// are zero-extended from that size.
const (
	lzNone  = iota << 2 // RFLAGS is right
	lzAdd               // a + b
	lzAdc               // a + b + 1
	lzSub               // a - b
	lzSbb               // a - b - 1
	lzLogic             // a is the result; CF and OF clear
	lzInc               // a + 1, CF is b
	lzDec               // a - 1, CF is b
	lzShl               // a << b, b in 1 .. size-1
	lzShr               // a >> b
	lzSar               // a >> b arithmetic
)

// Parity by low byte: PF or 0.
var parity = func() (t [256]uint8) {
	for i := range t {
		if bits.OnesCount8(uint8(i))&1 == 0 {
			t[i] = flagPF
		}
	}
	return
}()

// flagsOf computes the six status flags of a lazy operation [SDM 1 3.4.3.1].
// What the manual leaves undefined is as AMD's processors have it, see
// undefined.go.
func flagsOf(op uint8, a, b uint64) uint64 {
	size := uint(8) << (op & 3)
	mask := ^uint64(0) >> (64 - size)
	top := size - 1
	var r, cf, of, af uint64
	switch op &^ 3 {
	case lzAdd:
		r = (a + b) & mask
		cf = b2u(r < a)
		of = (a ^ r) & (b ^ r) >> top
		af = a ^ b ^ r
	case lzAdc:
		r = (a + b + 1) & mask
		cf = b2u(r <= a)
		of = (a ^ r) & (b ^ r) >> top
		af = a ^ b ^ r
	case lzSub:
		r = (a - b) & mask
		cf = b2u(a < b)
		of = (a ^ b) & (a ^ r) >> top
		af = a ^ b ^ r
	case lzSbb:
		r = (a - b - 1) & mask
		cf = b2u(a <= b)
		of = (a ^ b) & (a ^ r) >> top
		af = a ^ b ^ r
	case lzLogic:
		r = a
	case lzInc:
		r = (a + 1) & mask
		cf = b
		of = b2u(r == 1<<top)
		af = a ^ r
	case lzDec:
		r = (a - 1) & mask
		cf = b
		of = b2u(a == 1<<top)
		af = a ^ r
	case lzShl:
		r = a << b & mask
		cf = a >> (size - uint(b)) & 1
		of = r>>top ^ cf
		af = flagAF
	case lzShr:
		r = a >> b
		cf = a >> (b - 1) & 1
		of = (r ^ r<<1) >> top
		af = flagAF
	case lzSar:
		s := signExtend(a, size)
		r = uint64(s>>b) & mask
		cf = uint64(s>>(b-1)) & 1
		af = flagAF
	}
	f := cf&1 | of&1<<11 | af&flagAF | r>>top&1<<7 | uint64(parity[uint8(r)])
	if r == 0 {
		f |= flagZF
	}
	return f
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func signExtend(v uint64, size uint) int64 { return int64(v<<(64-size)) >> (64 - size) }

// materialize brings RFLAGS up to date.
func (c *CPU) materialize() {
	if c.lzOp != lzNone {
		c.RFLAGS = c.RFLAGS&^flagsStatus | c.status()
		c.lzOp = lzNone
	}
}

// status computes the flags of the lazy operation as the model's vendor does.
func (c *CPU) status() uint64 {
	f := flagsOf(c.lzOp, c.lzA, c.lzB)
	if c.lzOp >= lzShl && !c.amd {
		return intelShift(c.lzOp, c.lzA, f)
	}
	return f
}

// carry is CF as 0 or 1.
func (c *CPU) carry() uint64 {
	switch c.lzOp &^ 3 {
	case lzNone:
		return c.RFLAGS & flagCF
	case lzSub:
		return b2u(c.lzA < c.lzB)
	case lzLogic:
		return 0
	case lzInc, lzDec:
		return c.lzB
	}
	return flagsOf(c.lzOp, c.lzA, c.lzB) & flagCF
}

// setStatus replaces the six status flags.
func (c *CPU) setStatus(f uint64) {
	c.lzOp = lzNone
	c.RFLAGS = c.RFLAGS&^flagsStatus | f
}

// setFlags replaces the flags in mask.
func (c *CPU) setFlags(mask, f uint64) {
	c.materialize()
	c.RFLAGS = c.RFLAGS&^mask | f&mask
}

// cond evaluates condition number n [SDM 1 B.1].
func (c *CPU) cond(n uint8) bool {
	if n>>1 == 2 {
		return c.zero() != (n&1 != 0)
	}
	switch c.lzOp &^ 3 {
	case lzSub:
		if r, ok := condSub(n, c.lzOp&3, c.lzA, c.lzB); ok {
			return r != (n&1 != 0)
		}
	case lzLogic:
		if r, ok := condLogic(n, c.lzOp&3, c.lzA); ok {
			return r != (n&1 != 0)
		}
	}
	f := c.RFLAGS
	if c.lzOp != lzNone {
		f = c.status()
	}
	return condFlags(n, f) != (n&1 != 0)
}

// condFlags evaluates the even condition of n's pair on status flags.
func condFlags(n uint8, f uint64) bool {
	switch n >> 1 {
	case 0:
		return f&flagOF != 0
	case 1:
		return f&flagCF != 0
	case 2:
		return f&flagZF != 0
	case 3:
		return f&(flagCF|flagZF) != 0
	case 4:
		return f&flagSF != 0
	case 5:
		return f&flagPF != 0
	case 6:
		return f>>7&1 != f>>11&1
	}
	return f>>7&1 != f>>11&1 || f&flagZF != 0
}

// condSub evaluates the even condition of n's pair after a comparison of a with
// b; ok is false for those that are not simply an order.
func condSub(n, size uint8, a, b uint64) (r, ok bool) {
	shift := 64 - 8<<size
	switch n >> 1 {
	case 1:
		return a < b, true
	case 2:
		return a == b, true
	case 3:
		return a <= b, true
	case 6:
		return int64(a<<shift) < int64(b<<shift), true
	case 7:
		return int64(a<<shift) <= int64(b<<shift), true
	}
	return false, false
}

// condLogic is condSub for a logical operation's result.
func condLogic(n, size uint8, a uint64) (r, ok bool) {
	shift := 64 - 8<<size
	switch n >> 1 {
	case 0, 1:
		return false, true
	case 2, 3:
		return a == 0, true
	case 4, 6:
		return int64(a<<shift) < 0, true
	case 7:
		return int64(a<<shift) <= 0, true
	}
	return false, false
}

// zero is ZF, the condition most branches ask for.
func (c *CPU) zero() bool {
	shift := 64 - 8<<(c.lzOp&3)
	switch c.lzOp &^ 3 {
	case lzNone:
		return c.RFLAGS&flagZF != 0
	case lzLogic:
		return c.lzA == 0
	case lzSub:
		return c.lzA == c.lzB
	case lzAdd:
		return (c.lzA+c.lzB)<<shift == 0
	case lzInc:
		return (c.lzA+1)<<shift == 0
	case lzDec:
		return c.lzA == 1
	case lzShl:
		return c.lzA<<c.lzB<<shift == 0
	case lzShr:
		return c.lzA>>c.lzB == 0
	}
	return flagsOf(c.lzOp, c.lzA, c.lzB)&flagZF != 0
}
