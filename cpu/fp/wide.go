package fp

import "math/bits"

// This file is the 128-bit arithmetic under the transcendental functions. Each
// operation is off by less than 2^-125 of its result.

var one = wide{hi: 1 << 63}

// times is x*y; both must be non-zero.
func times(x, y wide) wide {
	hi, lo := bits.Mul64(x.hi, y.hi)
	a, _ := bits.Mul64(x.hi, y.lo)
	b, _ := bits.Mul64(x.lo, y.hi)
	lo, c := bits.Add64(lo, a, 0)
	hi += c
	lo, c = bits.Add64(lo, b, 0)
	hi += c
	exp := x.exp + y.exp + 1
	if hi>>63 == 0 {
		hi, lo = hi<<1|lo>>63, lo<<1
		exp--
	}
	return wide{hi, lo, exp, x.neg != y.neg}
}

// over is x/y; both must be non-zero. Why: with r near 1/y, x*r has an error of
// about 2^-62, which the remainder times r makes good.
func over(x, y wide) wide {
	r := quotient(num{sig: 1 << 63}, num{sig: y.hi, exp: y.exp, neg: y.neg})
	r.lo = 0
	q := times(x, r)
	return plus(q, times1(minus(x, times(q, y)), r))
}

// plus is x+y, either of which may be zero.
func plus(x, y wide) wide {
	switch {
	case x.hi == 0:
		return y
	case y.hi == 0:
		return x
	}
	return sum(x, y)
}

func minus(x, y wide) wide {
	y.neg = !y.neg
	return plus(x, y)
}

// times1 is times for an x that may be zero.
func times1(x, y wide) wide {
	if x.hi == 0 {
		return x
	}
	return times(x, y)
}

// series is the sum of coef[i] * z^i. Terms below 2^-140 are left out.
func series(z wide, coef []wide) wide {
	n := len(coef)
	if z.exp < 0 {
		n = min(n, int(140/-z.exp)+2)
	}
	acc := coef[n-1]
	for i := n - 2; i >= 0; i-- {
		acc = sum(times(acc, z), coef[i])
	}
	return acc
}

// Numbers of terms, so that the last is below 2^-80 of the sum.
const (
	expTerms  = 26 // |z| < 0.7
	trigTerms = 14 // |z| < 0.62, with alternating signs
	logTerms  = 18 // |z| < 0.03
	atanTerms = 11 // |z| < 0.002
)

var (
	expm1Coef = factorials(expTerms, 1, 1)  // (e^z - 1) / z
	sinCoef   = factorials(trigTerms, 1, 2) // sin(x) / x, of -x^2
	cosCoef   = factorials(trigTerms, 0, 2) // cos(x), of -x^2
	atanhCoef = oddReciprocals(logTerms)    // atanh(x) / x, of x^2; atan(x) / x, of -x^2
)

// factorials is 1/(first+i*step)! for i below n.
func factorials(n, first, step int) []wide {
	coef := make([]wide, n)
	v := one
	for i, k := 0, 0; i < n; i++ {
		for ; k < first+i*step; k++ {
			v = over(v, wideInt(k+1))
		}
		coef[i] = v
	}
	return coef
}

// oddReciprocals is 1/(2*i+1) for i below n.
func oddReciprocals(n int) []wide {
	coef := make([]wide, n)
	for i := range coef {
		coef[i] = over(one, wideInt(2*i+1))
	}
	return coef
}

func wideInt(v int) wide { return fromInt(int64(v)).wide() }

var (
	widePi     = wide{hi: 0xc90fdaa22168c234, lo: 0xc4c6628b80dc1cd1, exp: 1}
	wideHalfPi = wide{hi: 0xc90fdaa22168c234, lo: 0xc4c6628b80dc1cd1, exp: 0}
	wideLn2    = wide{hi: 0xb17217f7d1cf79ab, lo: 0xc9e3b39803f2f6af, exp: -1}
	twoOverLn2 = wide{hi: 0xb8aa3b295c17f0bb, lo: 0xbe87fed0691d3e89, exp: 1}
)

// atanTable is atan(i/16).
var atanTable = [17]wide{
	{},
	{hi: 0xffaaddb967ef4e36, lo: 0xcb2792dc0e2e0d51, exp: -5},
	{hi: 0xfeadd4d5617b6e32, lo: 0xc897989f3e888ef8, exp: -4},
	{hi: 0xbdcbda5e72d81134, lo: 0x7b0b4f881c9c7488, exp: -3},
	{hi: 0xfadbafc96406eb15, lo: 0x6dc79ef5f7a217e6, exp: -3},
	{hi: 0x9b13b9b83f5e5e69, lo: 0xc5abb498d27af328, exp: -2},
	{hi: 0xb7b0ca0f26f78473, lo: 0x8aa32122dcfe4483, exp: -2},
	{hi: 0xd327761e611fe5b6, lo: 0x427c95e9001e7136, exp: -2},
	{hi: 0xed63382b0dda7b45, lo: 0x6fe445ecbc3a8d03, exp: -2},
	{hi: 0x832bf4a6d9867e2a, lo: 0x4b6a09cb61a515c1, exp: -1},
	{hi: 0x8f005d5ef7f59f9b, lo: 0x5c835e1665c43748, exp: -1},
	{hi: 0x9a2f80e671bdda20, lo: 0x4226f8e2204ff3bd, exp: -1},
	{hi: 0xa4bc7d1934f70924, lo: 0x19a87f2a457dac9f, exp: -1},
	{hi: 0xaeac4c38b4d8c080, lo: 0x14725e2f3e52070a, exp: -1},
	{hi: 0xb8053e2bc2319e73, lo: 0xcb2da55210a4443d, exp: -1},
	{hi: 0xc0ce85b8ac526640, lo: 0x89dd62c46e92fa25, exp: -1},
	{hi: 0xc90fdaa22168c234, lo: 0xc4c6628b80dc1cd1, exp: -1},
}
