package fp

import "math/bits"

// class says what kind of number an operand is. The values are bits, so that
// the classes of two operands can be looked at together.
type class = uint8

const (
	clsDen  class = 1 << iota // denormal: finite, but raises DE
	clsZero                   // zero
	clsInf                    // infinity
	clsQNaN                   // quiet NaN
	clsSNaN                   // signalling NaN
	clsBad                    // x87: unsupported encoding [SDM 1 8.2.2]

	clsNormal class = 0
	clsNaN          = clsQNaN | clsSNaN | clsBad // no arithmetic with these
)

// num is an unpacked operand or a settled result. If it is finite and not zero,
// its magnitude is sig * 2^(exp-63) and bit 63 of sig is set.
type num struct {
	sig uint64
	exp int32
	neg bool
	cls class
}

// wide is an exact or nearly exact result before rounding. Its magnitude is
// (hi*2^64 + lo) * 2^(exp-127), bit 63 of hi is set, and bit 0 of lo may stand
// for any non-zero value below it. hi is 0 only for an exact zero.
type wide struct {
	hi, lo uint64
	exp    int32
	neg    bool
}

func (x num) wide() wide { return wide{hi: x.sig, exp: x.exp, neg: x.neg} }

// shiftRight128 shifts hi:lo right by n and keeps bits that fall off as a
// sticky bit 0.
func shiftRight128(hi, lo uint64, n uint32) (uint64, uint64) {
	switch {
	case n == 0:
		return hi, lo
	case n < 64:
		return hi >> n, hi<<(64-n) | lo>>n | sticky(lo<<(64-n))
	case n < 128:
		n -= 64
		return 0, hi>>n | sticky(hi<<(63-n)<<1|lo)
	}
	return 0, sticky(hi | lo)
}

// sticky is 1 if v is not 0.
func sticky(v uint64) uint64 { return (v | -v) >> 63 }

// sum is x+y for finite non-zero x and y.
func sum(x, y wide) wide {
	if x.exp < y.exp || x.exp == y.exp && (x.hi < y.hi || x.hi == y.hi && x.lo < y.lo) {
		x, y = y, x
	}
	hi, lo := y.hi, y.lo
	if d := uint32(x.exp - y.exp); d != 0 {
		hi, lo = shiftRight128(hi, lo, d)
	}
	if x.neg != y.neg {
		return difference(x, hi, lo)
	}
	lo, c := bits.Add64(x.lo, lo, 0)
	hi, c = bits.Add64(x.hi, hi, c)
	if c != 0 {
		lo = hi<<63 | lo>>1 | lo&1
		hi = hi>>1 | 1<<63
		x.exp++
	}
	return wide{hi, lo, x.exp, x.neg}
}

// difference is x less hi:lo, which is aligned with x and not greater.
func difference(x wide, hi, lo uint64) wide {
	lo, b := bits.Sub64(x.lo, lo, 0)
	hi, _ = bits.Sub64(x.hi, hi, b)
	return normalize(wide{hi, lo, x.exp, x.neg})
}

// normalize shifts w left until bit 63 of hi is set.
func normalize(w wide) wide {
	if w.hi == 0 {
		w.hi, w.lo = w.lo, 0
		w.exp -= 64
	}
	n := uint(bits.LeadingZeros64(w.hi))
	w.hi = w.hi<<n | w.lo>>(64-n)
	w.lo <<= n
	w.exp -= int32(n)
	return w
}

// product is x*y for finite non-zero x and y. It is exact.
func product(x, y num) wide {
	hi, lo := bits.Mul64(x.sig, y.sig)
	exp := x.exp + y.exp + 1
	if hi>>63 == 0 {
		hi, lo = hi<<1|lo>>63, lo<<1
		exp--
	}
	return wide{hi, lo, exp, x.neg != y.neg}
}

// quotient is x/y for finite non-zero x and y.
func quotient(x, y num) wide {
	exp, hi, lo := x.exp-y.exp, x.sig, uint64(0)
	if hi >= y.sig {
		hi, lo = hi>>1, hi<<63
	} else {
		exp--
	}
	q, r := bits.Div64(hi, lo, y.sig) // hi < y.sig in both cases
	return wide{q, halves(r, y.sig), exp, x.neg != y.neg}
}

// halves is a stand-in for the bits that follow a quotient whose remainder is r
// (less than y): 0, less than, exactly or more than half a unit.
func halves(r, y uint64) uint64 {
	switch {
	case r == 0:
		return 0
	case r < y-r:
		return 1
	case r == y-r:
		return 1 << 63
	}
	return 1<<63 | 1
}

// root is the square root of a finite x > 0.
func root(x num) wide {
	hi, lo := x.sig>>1, x.sig<<63
	if x.exp&1 != 0 {
		hi, lo = x.sig, 0
	}
	s, rhi, rlo := sqrt128(hi, lo)
	w := wide{hi: s, exp: x.exp >> 1}
	switch {
	case rhi == 0 && rlo == 0:
	case rhi == 0 && rlo <= s: // below (s + 1/2)^2
		w.lo = 1
	default:
		w.lo = 1<<63 | 1
	}
	return w
}

// sqrt128 is the integer square root of hi:lo and its remainder. hi is at
// least 2^62. Why: P. Zimmermann's "Karatsuba square root" takes the root of the
// upper half and one division, and needs no estimate.
func sqrt128(hi, lo uint64) (s, rhi, rlo uint64) {
	s1, r1 := sqrt64(hi) // r1 <= 2*s1 < 2^33
	// (r1:lo's upper half) / (2*s1), where r1 has up to 33 bits.
	q, u := bits.Div64(r1>>32, r1<<32|lo>>32, 2*s1)
	c := q >> 32 // q is at most 2^32
	s = s1<<32 + q
	if c != 0 { // q = 2^32: use 2^32-1 and put the divisor back
		q--
		u += 2 * s1
		s = s1<<32 + q
	}
	qhi, qlo := bits.Mul64(q, q)
	rhi, rlo = u>>32, u<<32|lo&(1<<32-1)
	rlo, b := bits.Sub64(rlo, qlo, 0)
	rhi, b = bits.Sub64(rhi, qhi, b)
	if b != 0 { // s is one too large
		s--
		var c1, c2 uint64
		rlo, c1 = bits.Add64(rlo, s, 1)
		rlo, c2 = bits.Add64(rlo, s, 0)
		rhi += c1 + c2
	}
	return s, rhi, rlo
}

// sqrt64 is the integer square root of v and its remainder. v is at least 2^62.
func sqrt64(v uint64) (s, r uint64) {
	s1, r1 := sqrt32(v >> 32)
	n := r1<<16 | v>>16&0xffff
	q, u := n/(2*s1), n%(2*s1)
	s = s1<<16 + q
	r = u<<16 | v&0xffff
	if q*q > r {
		s--
		return s, r + 2*s + 1 - q*q
	}
	return s, r - q*q
}

// sqrt32 is the integer square root of v and its remainder. v is at least 2^30
// and below 2^32.
func sqrt32(v uint64) (s, r uint64) {
	s = uint64(rootTable[v>>24]) << 8 // not above the root, which has 16 bits
	s = (s + v/s) >> 1                // not below it
	s = (s + v/s) >> 1
	for s*s > v {
		s--
	}
	return s, v - s*s
}

// rootTable is the integer square root of 256*i, for i of 64 and more.
var rootTable = makeRootTable()

func makeRootTable() (t [256]uint8) {
	r := 0
	for i := range t {
		for (r+1)*(r+1) <= i<<8 {
			r++
		}
		t[i] = uint8(r)
	}
	return t
}
