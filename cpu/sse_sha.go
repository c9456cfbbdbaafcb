package cpu

import (
	"math/bits"

	"godwit/cpu/isa"
)

// SHA-1 and SHA-256 [SDM 1 12.14, FIPS 180-4]. SHA-1 keeps its first word in the
// top lane, SHA-256 in the bottom one.

func init() {
	register(map[isa.Op]handler{
		isa.SHA1RNDS4: sha(sha1Rounds),
		isa.SHA1NEXTE: sha(func(a, b xmm, _ uint8) xmm {
			return b.setLane(3, 32, b.lane(3, 32)+uint64(bits.RotateLeft32(a.w(3), 30)))
		}),
		isa.SHA1MSG1:    sha(func(a, b xmm, _ uint8) xmm { return xmm{a.lo ^ b.hi, a.hi ^ a.lo} }),
		isa.SHA1MSG2:    sha(sha1Schedule),
		isa.SHA256RNDS2: hSha256rnds2,
		isa.SHA256MSG1: sha(func(a, b xmm, _ uint8) xmm {
			return words(a.w(0)+sigma(a.w(1), 7, 18, 3), a.w(1)+sigma(a.w(2), 7, 18, 3), a.w(2)+sigma(a.w(3), 7, 18, 3), a.w(3)+sigma(b.w(0), 7, 18, 3))
		}),
		isa.SHA256MSG2: sha(sha256Schedule),
	})
}

// srcSHA reads the second operand, which AMD's processors do not want aligned.
func (c *CPU) srcSHA(in *isa.Inst) (xmm, bool) {
	if in.Flags&isa.FlagMem == 0 {
		return c.xmm(in.RM), true
	}
	return c.load128(in, !c.model.amd())
}

// sha makes the handler of a SHA instruction of two registers.
func sha(f func(a, b xmm, imm uint8) xmm) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		b, ok := c.srcSHA(in)
		if ok {
			c.setXMM(in.Reg, f(c.xmm(in.Reg), b, uint8(in.Imm)))
		}
		return ok
	}
}

func hSha256rnds2(c *CPU, in *isa.Inst) bool {
	if !c.useSSE() {
		return false
	}
	b, ok := c.srcSHA(in)
	if ok {
		c.setXMM(in.Reg, sha256Rounds(c.xmm(in.Reg), b, c.xmm(0)))
	}
	return ok
}

// w is doubleword i, and words makes a register of four, the lowest first.
func (x xmm) w(i uint) uint32 { return uint32(x.lane(i, 32)) }

func words(a, b, c, d uint32) xmm { return xmm{uint64(a) | uint64(b)<<32, uint64(c) | uint64(d)<<32} }

// sha1K are the constants of SHA-1's four kinds of rounds [FIPS 180-4 4.2.1].
var sha1K = [4]uint32{0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6}

// sha1F is the function of SHA-1's rounds [FIPS 180-4 4.1.1].
func sha1F(kind uint8, b, c, d uint32) uint32 {
	switch kind {
	case 0:
		return b&c ^ ^b&d
	case 2:
		return b&c ^ b&d ^ c&d
	}
	return b ^ c ^ d
}

// sha1Rounds is SHA1RNDS4. The first word of the message has E added already.
func sha1Rounds(x, msg xmm, imm uint8) xmm {
	a, b, c, d, e := x.w(3), x.w(2), x.w(1), x.w(0), uint32(0)
	kind := imm & 3
	for i := uint(0); i < 4; i++ {
		t := sha1F(kind, b, c, d) + bits.RotateLeft32(a, 5) + msg.w(3-i) + e + sha1K[kind]
		a, b, c, d, e = t, a, bits.RotateLeft32(b, 30), c, d
	}
	return words(d, c, b, a)
}

func sha1Schedule(a, b xmm, _ uint8) xmm {
	w16 := bits.RotateLeft32(a.w(3)^b.w(2), 1)
	return words(bits.RotateLeft32(a.w(0)^w16, 1), bits.RotateLeft32(a.w(1)^b.w(0), 1), bits.RotateLeft32(a.w(2)^b.w(1), 1), w16)
}

// sigma is SHA-256's small sigma: two rotations and a shift to the right.
func sigma(v uint32, r1, r2, s int) uint32 {
	return bits.RotateLeft32(v, -r1) ^ bits.RotateLeft32(v, -r2) ^ v>>s
}

// bigSigma is SHA-256's big sigma: three rotations to the right.
func bigSigma(v uint32, r1, r2, r3 int) uint32 {
	return bits.RotateLeft32(v, -r1) ^ bits.RotateLeft32(v, -r2) ^ bits.RotateLeft32(v, -r3)
}

// sha256Rounds is SHA256RNDS2; wk is the sum of message words and constants.
func sha256Rounds(x, y, wk xmm) xmm {
	a, b, c, d := y.w(3), y.w(2), x.w(3), x.w(2)
	e, f, g, h := y.w(1), y.w(0), x.w(1), x.w(0)
	for i := uint(0); i < 2; i++ {
		t := e&f ^ ^e&g + bigSigma(e, 6, 11, 25) + wk.w(i) + h
		u := a&b ^ a&c ^ b&c + bigSigma(a, 2, 13, 22)
		a, b, c, d, e, f, g, h = t+u, a, b, c, d+t, e, f, g
	}
	return words(f, e, b, a)
}

func sha256Schedule(a, b xmm, _ uint8) xmm {
	w16, w17 := a.w(0)+sigma(b.w(2), 17, 19, 10), a.w(1)+sigma(b.w(3), 17, 19, 10)
	return words(w16, w17, a.w(2)+sigma(w16, 17, 19, 10), a.w(3)+sigma(w17, 17, 19, 10))
}
