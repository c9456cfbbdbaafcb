package cpu

import (
	"math/bits"

	"godwit/cpu/isa"
)

// AES and carry-less multiplication [SDM 1 12.13, FIPS 197]. The state is
// sixteen bytes, column by column from the lowest.

func init() {
	register(map[isa.Op]handler{
		isa.AESENC:     vector(func(a, key xmm, _ uint8) xmm { return aesRound(a, &sbox, 5).mixColumns(2, 3, 1, 1).xor(key) }),
		isa.AESENCLAST: vector(func(a, key xmm, _ uint8) xmm { return aesRound(a, &sbox, 5).xor(key) }),
		isa.AESDEC:     vector(func(a, key xmm, _ uint8) xmm { return aesRound(a, &unsbox, 13).mixColumns(14, 11, 13, 9).xor(key) }),
		isa.AESDECLAST: vector(func(a, key xmm, _ uint8) xmm { return aesRound(a, &unsbox, 13).xor(key) }),
		isa.AESIMC:     vector(func(_, b xmm, _ uint8) xmm { return b.mixColumns(14, 11, 13, 9) }),

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
func aesRound(x xmm, box *[256]uint8, step uint) (r xmm) {
	for i := uint(0); i < 16; i++ {
		r = r.setLane(i, 8, uint64(box[x.lane(step*i&15, 8)]))
	}
	return r
}

// mixColumns multiplies each column by a polynomial, given as the first row of
// its matrix.
func (x xmm) mixColumns(k0, k1, k2, k3 uint8) (r xmm) {
	k := [4]uint8{k0, k1, k2, k3}
	for i := uint(0); i < 16; i++ {
		var v uint8
		for j := uint(0); j < 4; j++ {
			v ^= gmul(uint8(x.lane(i&12|j, 8)), k[(j-i)&3])
		}
		r = r.setLane(i, 8, uint64(v))
	}
	return r
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
