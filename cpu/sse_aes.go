package cpu

import (
	"math/bits"

	"godwit/cpu/isa"
)

// AES and carry-less multiplication [SDM 1 12.13, FIPS 197]. The state is
// sixteen bytes, column by column from the lowest.

func init() {
	registerVec(map[isa.Op]vec{
		isa.AESENC:     vector(func(a, key xmm, _ uint8) xmm { return mixColumns(aesRound(a, &sbox, 5)).xor(key) }),
		isa.AESENCLAST: vector(func(a, key xmm, _ uint8) xmm { return aesRound(a, &sbox, 5).xor(key) }),
		isa.AESDEC:     vector(func(a, key xmm, _ uint8) xmm { return unmixColumns(aesRound(a, &unsbox, 13)).xor(key) }),
		isa.AESDECLAST: vector(func(a, key xmm, _ uint8) xmm { return aesRound(a, &unsbox, 13).xor(key) }),
		isa.AESIMC:     vector(func(_, b xmm, _ uint8) xmm { return unmixColumns(b) }),

		isa.AESKEYGENASSIST: vector(keyAssist),
		isa.PCLMULQDQ: vector(func(a, b xmm, imm uint8) xmm {
			return clmul(a.lane(uint(imm&1), 64), b.lane(uint(imm>>4&1), 64))
		}),
	})
}

// sbox and unsbox are the substitution of SubBytes [FIPS 197 5.1.1] and its
// inverse.
var sbox, unsbox = func() (s, u [256]uint8) {
	for i := range s {
		inv := uint8(0)
		for j := 1; j < 256 && i != 0; j++ {
			if gmul(uint8(i), uint8(j)) == 1 {
				inv = uint8(j)
			}
		}
		v := uint8(0x63)
		for r := 0; r < 5; r++ {
			v ^= bits.RotateLeft8(inv, r)
		}
		s[i], u[v] = v, uint8(i)
	}
	return
}()

// gmul multiplies in GF(2^8) modulo x^8+x^4+x^3+x+1.
func gmul(a, b uint8) (r uint8) {
	for ; b != 0; b >>= 1 {
		r ^= a & -(b & 1)
		a = a<<1 ^ 0x1b&-(a>>7)
	}
	return r
}

func (x xmm) xor(y xmm) xmm { return xmm{x.lo ^ y.lo, x.hi ^ y.hi} }

// aesRound is SubBytes and ShiftRows, or their inverses: byte i comes from the
// byte step*i further on, which is another column of its row.
func aesRound(x xmm, box *[256]uint8, step int) xmm {
	from, to := x.bytes(), [16]uint8{}
	for i := range to {
		to[i] = box[from[step*i&15]]
	}
	return fromBytes(to)
}

// double multiplies each byte of a quadword by x in GF(2^8).
func double(v uint64) uint64 { return v&^top8<<1 ^ v&top8>>7*0x1b }

// rotateColumns brings each byte n bits higher in its column of four down.
func rotateColumns(v uint64, n int) uint64 {
	return uint64(bits.RotateLeft32(uint32(v), -n)) | uint64(bits.RotateLeft32(uint32(v>>32), -n))<<32
}

// mixColumns is MixColumns: each byte becomes 2, 3, 1 and 1 times itself and
// those after it [FIPS 197 5.1.3].
func mixColumns(x xmm) xmm {
	mix := func(v uint64) uint64 {
		d := double(v)
		return d ^ rotateColumns(v^d, 8) ^ rotateColumns(v, 16) ^ rotateColumns(v, 24)
	}
	return xmm{mix(x.lo), mix(x.hi)}
}

// unmixColumns is its inverse, with the factors 14, 11, 13 and 9: MixColumns
// after a multiplication by 5, 0, 4, 0.
func unmixColumns(x xmm) xmm {
	pre := func(v uint64) uint64 { return v ^ double(double(v^rotateColumns(v, 16))) }
	return mixColumns(xmm{pre(x.lo), pre(x.hi)})
}

// keyAssist is AESKEYGENASSIST: substituted words, and rotated ones with the
// round constant.
func keyAssist(_, b xmm, imm uint8) xmm {
	half := func(q uint64) uint64 {
		var w uint32
		for s := 32; s < 64; s += 8 {
			w |= uint32(sbox[q>>s&0xff]) << (s - 32)
		}
		return uint64(w) | uint64(bits.RotateLeft32(w, -8)^uint32(imm))<<32
	}
	return xmm{half(b.lo), half(b.hi)}
}

// clmul multiplies polynomials over GF(2).
func clmul(a, b uint64) (r xmm) {
	for i := 0; i < 64; i++ {
		m := -(b >> i & 1)
		r.lo ^= a << i & m
		r.hi ^= a >> (64 - i) & m
	}
	return r
}
