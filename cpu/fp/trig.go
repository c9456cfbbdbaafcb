package fp

import "math/bits"

// The trigonometric functions reduce their operand by a pi of 66 bits, as the
// x87s of Intel and AMD do, and not by pi itself [SDM 1 8.3.8]: they are the sine
// and so on of the exact remainder to the nearest multiple of pi66/2. Up to the
// limit of 2^63 they are within 0.51 units of that; AMD's Zen 4 agrees to 2.
const (
	halfPiHi = 0x3 // 66 bits of pi/2, in units of 2^-65
	halfPiLo = 0x243f6a8885a308d3
)

// reduce is the remainder of |x| to the nearest multiple n of pi/2, for x below
// 2^63; only the low bits of n are right.
func reduce(x num) (r wide, n uint64) {
	if x.exp < -1 {
		return wide{hi: x.sig, exp: x.exp}, 0
	}
	hi, lo := uint64(0), x.sig
	for range x.exp + 2 { // |x| in units of 2^-65 is sig << (exp+2)
		hi, lo = hi<<1|lo>>63, lo<<1
		n <<= 1
		l, b := bits.Sub64(lo, halfPiLo, 0)
		if h, b := bits.Sub64(hi, halfPiHi, b); b == 0 {
			hi, lo = h, l
			n |= 1
		}
	}
	// hi:lo < pi/2; the other side of zero may be nearer.
	l, b := bits.Sub64(halfPiLo, lo, 0)
	h, _ := bits.Sub64(halfPiHi, hi, b)
	neg := false
	if h < hi || h == hi && l < lo {
		hi, lo, neg = h, l, true
		n++
	}
	if hi|lo == 0 {
		return wide{}, n
	}
	// As a wide, the unit of lo is 2^(exp-127).
	return normalize(wide{hi: hi, lo: lo, exp: 127 - 65, neg: neg}), n
}

// sinCos is the sine and cosine of |x|.
func sinCos(x num) (sin, cos wide) {
	r, n := reduce(x)
	z := times(r, r)
	z.neg = true
	sin, cos = times(r, series(z, sinCoef)), series(z, cosCoef)
	if n&1 != 0 {
		sin, cos = cos, sin
		cos.neg = !cos.neg
	}
	if n&2 != 0 {
		sin.neg, cos.neg = !sin.neg, !cos.neg
	}
	return sin, cos
}

// trigOdd settles operands that are not numbers between -2^63 and 2^63. ok says
// that r is the result, except for the cosine of zero; inRange is false if the
// operand stays as it is and C2 must be set.
func trigOdd(e *Env, a F80, x num) (r F80, ok, inRange bool) {
	switch {
	case x.cls&clsNaN != 0:
		return nan80(e, a, a, x.cls, x.cls), true, true
	case x.cls == clsInf:
		return invalid80(e), true, true
	case x.cls == clsZero:
		return a, true, true
	case x.exp >= 63:
		return a, true, false
	}
	return a, e.denormal(x.cls), true
}

// Sin is the sine of a. If inRange is false, a is too large, is the result
// itself, and C2 must be set [SDM 2 FSIN].
func Sin(e *Env, a F80) (r F80, inRange bool) {
	e.C1 = false
	x := a.unpack()
	if r, ok, in := trigOdd(e, a, x); ok {
		return r, in
	}
	s, _ := sinCos(x)
	s.neg = s.neg != x.neg
	return inexact(e, s), true
}

// Cos is the cosine of a; see [Sin] [SDM 2 FCOS].
func Cos(e *Env, a F80) (r F80, inRange bool) {
	e.C1 = false
	x := a.unpack()
	if r, ok, in := trigOdd(e, a, x); ok {
		if x.cls == clsZero {
			r = Constant(e, ConstOne)
		}
		return r, in
	}
	_, c := sinCos(x)
	return inexact(e, c), true
}

// SinCos is the sine and the cosine of a; see [Sin]. The sine replaces ST0 and
// then the cosine is pushed [SDM 2 FSINCOS].
func SinCos(e *Env, a F80) (sin, cos F80, inRange bool) {
	e.C1 = false
	x := a.unpack()
	if r, ok, in := trigOdd(e, a, x); ok {
		if x.cls == clsZero {
			return r, Constant(e, ConstOne), in
		}
		return r, r, in
	}
	s, c := sinCos(x)
	s.neg = s.neg != x.neg
	cos = inexact(e, c)
	return inexact(e, s), cos, true
}

// Tan is the tangent of a and the 1 that is pushed after it; see [Sin]. For NaNs
// and infinities that is a NaN as well [SDM 2 FPTAN].
func Tan(e *Env, a F80) (tan, top F80, inRange bool) {
	e.C1 = false
	x := a.unpack()
	if r, ok, in := trigOdd(e, a, x); ok {
		if x.cls == clsZero {
			return r, Constant(e, ConstOne), in
		}
		return r, r, in
	}
	s, c := sinCos(x)
	t := over(s, c)
	t.neg = t.neg != x.neg
	return inexact(e, t), signed80(int80, bias80, false), true
}

// Atan is the angle of the point (x, y), where x is ST0 and y is ST1
// [SDM 2 FPATAN].
func Atan(e *Env, x, y F80) F80 {
	e.C1 = false
	a, b := x.unpack(), y.unpack()
	if (a.cls|b.cls)&clsNaN != 0 {
		return nan80(e, y, x, b.cls, a.cls)
	}
	if e.denormal(a.cls | b.cls) {
		return y
	}
	var w wide
	switch {
	case b.cls == clsZero || a.cls == clsInf && b.cls != clsInf: // along the x axis
		if !a.neg {
			return signed80(0, 0, b.neg)
		}
		w = widePi
	case a.cls == clsZero || b.cls == clsInf && a.cls != clsInf: // along the y axis
		w = wideHalfPi
	case b.cls == clsInf: // diagonally
		if w = atanTable[16]; a.neg {
			w = minus(widePi, w)
		}
	default:
		w = atan2(a, b)
	}
	w.neg = b.neg
	return inexact(e, w)
}

// atan2 is the angle of (x, |y|), from 0 to pi.
func atan2(x, y num) wide {
	num, den := wide{hi: y.sig, exp: y.exp}, wide{hi: x.sig, exp: x.exp}
	steep := y.exp > x.exp || y.exp == x.exp && y.sig > x.sig
	if steep {
		num, den = den, num
	}
	w := atanRatio(num, den)
	if steep {
		w = minus(wideHalfPi, w)
	}
	if x.neg {
		w = minus(widePi, w)
	}
	return w
}

// atanRatio is atan(y/x) for 0 < y <= x: atan(c) + atan((y-c*x)/(x+c*y)), where
// c is the multiple of 1/16 nearest to y/x.
func atanRatio(y, x wide) wide {
	k := uint64(0)
	if d := x.exp - y.exp; d < 8 {
		k = (y.hi>>uint32(d+1) + x.hi>>6) / (x.hi >> 5)
	}
	if k == 0 {
		return atanSmall(over(y, x))
	}
	c := wideInt(int(k))
	c.exp -= 4
	n := minus(y, times(c, x))
	if n.hi == 0 {
		return atanTable[k]
	}
	return plus(atanTable[k], atanSmall(over(n, plus(x, times(c, y)))))
}

// atanSmall is atan(t) for |t| up to about 1/32.
func atanSmall(t wide) wide {
	z := times(t, t)
	z.neg = true
	return times(t, series(z, atanhCoef[:atanTerms]))
}
