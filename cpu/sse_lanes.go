package cpu

import "math/bits"

// This file computes on the lanes of a quadword: by arithmetic on all of them at
// once where that is easy, else one by one.

// Top bits of the lanes of a quadword, by lane width.
const (
	top8  = 0x8080808080808080
	top16 = 0x8000800080008000
	top32 = 0x8000000080000000
)

// widthOf is the number of bits per lane.
func widthOf(top uint64) uint { return uint(bits.TrailingZeros64(top)) + 1 }

// fill makes lanes of all ones from those whose top bit is set in t.
func fill(t uint64, w uint) uint64 { return t >> (w - 1) * (1<<w - 1) }

func addLanes(top uint64) qop {
	return func(a, b uint64) uint64 { return (a&^top + b&^top) ^ (a^b)&top }
}

func subLanes(top uint64) qop {
	return func(a, b uint64) uint64 { return ((a | top) - b&^top) ^ ^(a^b)&top }
}

// zeroLanes makes lanes of all ones where x is zero.
func zeroLanes(x, top uint64, w uint) uint64 {
	return fill(^(x|(x&^top+^top))&top, w)
}

// geLanes makes lanes of all ones where a >= b, unsigned: the top bits decide,
// or where they are equal the difference of the rest.
func geLanes(a, b, top uint64, w uint) uint64 {
	d := (a | top) - b&^top
	return fill((a&^b|^(a^b)&d)&top, w)
}

func eqLanes(top uint64) qop {
	w := widthOf(top)
	return func(a, b uint64) uint64 { return zeroLanes(a^b, top, w) }
}

// gtLanes compares signed numbers.
func gtLanes(top uint64) qop {
	w := widthOf(top)
	return func(a, b uint64) uint64 { return ^geLanes(b^top, a^top, top, w) }
}

// maxLanes and minLanes choose among unsigned numbers, or signed ones if bias is
// the lanes' top bits.
func maxLanes(top, bias uint64) qop {
	w := widthOf(top)
	return func(a, b uint64) uint64 {
		m := geLanes(a^bias, b^bias, top, w)
		return a&m | b&^m
	}
}

func minLanes(top, bias uint64) qop {
	w := widthOf(top)
	return func(a, b uint64) uint64 {
		m := geLanes(a^bias, b^bias, top, w)
		return b&m | a&^m
	}
}

// subUnsigned saturates at zero, and addUnsigned at the highest number.
func subUnsigned(top uint64) qop {
	w, sub := widthOf(top), subLanes(top)
	return func(a, b uint64) uint64 { return sub(a, b) & geLanes(a, b, top, w) }
}

func addUnsigned(top uint64) qop {
	sub := subUnsigned(top)
	return func(a, b uint64) uint64 { return ^sub(^a, b) }
}

// unsigned are the types of lanes.
type unsigned interface{ uint8 | uint16 | uint32 }

// lanes applies f to each lane of type T.
func lanes[T unsigned](f func(a, b T) T) qop {
	w := uint(bits.Len64(uint64(^T(0))))
	return func(a, b uint64) (r uint64) {
		for s := uint(0); s < 64; s += w {
			r |= uint64(f(T(a>>s), T(b>>s))) << s
		}
		return r
	}
}

// fold applies f to each pair of neighbours, first those of a and then of b.
func fold[T unsigned](f func(a, b T) T) qop {
	w := uint(bits.Len64(uint64(^T(0))))
	return func(a, b uint64) (r uint64) {
		for s := uint(0); s < 64; s += 2 * w {
			r |= uint64(f(T(a>>s), T(a>>(s+w)))) << (s / 2)
			r |= uint64(f(T(b>>s), T(b>>(s+w)))) << (32 + s/2)
		}
		return r
	}
}

// narrow converts the lanes of a and then b, w bits wide, to half of it by f,
// which gets them sign-extended.
func narrow(w uint, f func(int64) uint64) qop {
	return func(a, b uint64) (r uint64) {
		for s := uint(0); s < 64; s += w {
			r |= f(signExtend(a>>s, w)) << (s / 2)
			r |= f(signExtend(b>>s, w)) << (32 + s/2)
		}
		return r
	}
}

// clamp limits v to the signed numbers of w bits; the result is cut to w bits.
func clamp(v int64, w uint) uint64 {
	top := int64(1) << (w - 1)
	return uint64(min(max(v, -top), top-1)) & (1<<w - 1)
}

// clampUnsigned limits v to the unsigned numbers of w bits.
func clampUnsigned(v int64, w uint) uint64 { return uint64(min(max(v, 0), 1<<w-1)) }

func clamp8(v int32) uint8   { return uint8(clamp(int64(v), 8)) }
func clamp16(v int32) uint16 { return uint16(clamp(int64(v), 16)) }

// spread moves the lanes of a quadword's low half apart, so that each is
// followed by as many zeros.
func spread(x uint64, w uint) uint64 {
	x &= 0xffffffff
	if w <= 16 {
		x = (x | x<<16) & 0x0000ffff0000ffff
	}
	if w <= 8 {
		x = (x | x<<8) & 0x00ff00ff00ff00ff
	}
	return x
}

// lower interleaves the lanes of the low halves of a and b, and upper those of
// the high halves.
func lower(w uint) qop {
	return func(a, b uint64) uint64 { return spread(a, w) | spread(b, w)<<w }
}

func upper(w uint) qop {
	f := lower(w)
	return func(a, b uint64) uint64 { return f(a>>32, b>>32) }
}

// Shifts of all lanes, w bits wide, by the same count. A count beyond the width
// leaves zeros, or signs [SDM 2 PSLLW, PSRLW, PSRAW].

func shiftLeft(w uint) qop {
	return func(a, n uint64) uint64 {
		if n >= uint64(w) {
			return 0
		}
		return a &^ repeat(^(^uint64(0)>>n), w) << n
	}
}

func shiftRight(w uint) qop {
	return func(a, n uint64) uint64 {
		if n >= uint64(w) {
			return 0
		}
		return a &^ repeat((1<<n-1)<<(64-w), w) >> n
	}
}

func shiftSigned(w uint) qop {
	mask := ^uint64(0) >> (64 - w)
	return func(a, n uint64) (r uint64) {
		n = min(n, uint64(w-1))
		for s := uint(0); s < 64; s += w {
			r |= uint64(signExtend(a>>s, w)>>n) & mask << s
		}
		return r
	}
}

// repeat repeats the top w bits of v in every lane.
func repeat(v uint64, w uint) uint64 {
	v >>= 64 - w
	for ; w < 64; w *= 2 {
		v |= v << w
	}
	return v
}
