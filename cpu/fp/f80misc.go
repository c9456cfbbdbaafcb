package fp

import "math/bits"

// Compare80 relates a to b, and raises IE for quiet NaNs too if signalling is
// set [SDM 2 FCOM, FUCOM].
func Compare80(e *Env, a, b F80, signalling bool) Relation {
	e.C1 = false
	x, y := a.unpack(), b.unpack()
	c := x.cls | y.cls | e.den
	e.den = 0
	if c&clsNaN != 0 {
		if signalling || c&(clsSNaN|clsBad) != 0 {
			e.Flags |= IE
		}
		return Unordered
	}
	e.denormal(c)
	return relation(x, y)
}

// Condition code bits, as placed in FSW [SDM 1 8.1.3.1].
const (
	C0 uint16 = 1 << 8
	C1 uint16 = 1 << 9
	C2 uint16 = 1 << 10
	C3 uint16 = 1 << 14
)

// Condition is the condition code that FCOM sets for r [SDM 2 FCOM].
func (r Relation) Condition() uint16 {
	return [4]uint16{Less: C0, Equal: C3, Unordered: C3 | C2 | C0}[r&3]
}

// Examine is the condition code that FXAM sets for a register that is not
// empty. An empty one has C3 and C0, and C1 for its sign [SDM 2 FXAM].
func Examine(a F80) uint16 {
	cc := [...]uint16{clsNormal: C2, clsDen: C3 | C2, clsZero: C3, clsInf: C2 | C0}
	c := C0 // a NaN
	switch x := a.unpack(); {
	case x.cls == clsBad:
		c = 0
	case x.cls <= clsInf:
		c = cc[x.cls]
	}
	if a.Neg() {
		c |= C1
	}
	return c
}

// RoundInt80 rounds a to an integer [SDM 2 FRNDINT].
func RoundInt80(e *Env, a F80) F80 {
	e.C1 = false
	x := a.unpack()
	if x.cls&clsNaN != 0 {
		return nan80(e, a, a, x.cls, x.cls)
	}
	if e.denormal(x.cls) {
		return a
	}
	if x.cls&(clsZero|clsInf) != 0 || x.exp >= 63 {
		return a
	}
	w := integer(x, e.Round)
	e.wasRounded(w)
	return whole80(w.mag, x.neg)
}

// Scale80 is a * 2^trunc(b) [SDM 2 FSCALE].
func Scale80(e *Env, a, b F80) F80 {
	e.C1 = false
	x, y := a.unpack(), b.unpack()
	c := x.cls | y.cls
	if c&clsNaN != 0 {
		return nan80(e, a, b, x.cls, y.cls)
	}
	if y.cls == clsInf && (x.cls == clsInf && y.neg || x.cls == clsZero && !y.neg) {
		r, _ := e.invalidOp()
		return pack80(e, r)
	}
	if e.denormal(c) {
		return a
	}
	switch {
	case x.cls&(clsInf|clsZero) != 0:
		return a
	case y.cls == clsInf && y.neg:
		return signed80(0, 0, x.neg)
	case y.cls == clsInf:
		return signed80(int80, top80, x.neg)
	}
	x.exp += clampInt(y, 1<<17)
	return round80(e, x.wide(), full)
}

// clampInt is x truncated to an integer, or limit with its sign if it is larger.
func clampInt(x num, limit int32) int32 {
	w := integer(x, Zero)
	if !w.ok || w.mag > uint64(limit) {
		w.mag = uint64(limit)
	}
	if x.neg {
		return -int32(w.mag)
	}
	return int32(w.mag)
}

// Extract80 splits a into its exponent and its significand [SDM 2 FXTRACT].
func Extract80(e *Env, a F80) (exp, sig F80) {
	e.C1 = false
	x := a.unpack()
	switch {
	case x.cls&clsNaN != 0:
		r := nan80(e, a, a, x.cls, x.cls)
		return r, r
	case x.cls == clsZero:
		e.Flags |= ZE
		return signed80(int80, top80, true), a
	case x.cls == clsInf:
		return signed80(int80, top80, false), a
	}
	if e.denormal(x.cls) {
		return a, a
	}
	return FromInt80(int64(x.exp)), signed80(x.sig, bias80, x.neg)
}

// Rem80 is one step of FPREM, or of FPREM1 if nearest is set: the remainder of
// a/b, reduced by a quotient rounded to zero or to nearest. cc is the condition
// code: if C2 is set the reduction is incomplete, otherwise C0, C3 and C1 are
// bits 2, 1 and 0 of the quotient. An incomplete step takes the exponents 32 to
// 63 nearer, of which the manual leaves the choice to the CPU [SDM 2 FPREM].
func Rem80(e *Env, a, b F80, nearest bool) (r F80, cc uint16) {
	e.C1 = false
	x, y := a.unpack(), b.unpack()
	c := x.cls | y.cls
	if c&clsNaN != 0 {
		return nan80(e, a, b, x.cls, y.cls), 0
	}
	if x.cls == clsInf || y.cls == clsZero {
		r, _ := e.invalidOp()
		return pack80(e, r), 0
	}
	if e.denormal(c) {
		return a, 0
	}
	if x.cls == clsZero || y.cls == clsInf && !e.AMD {
		if a.SE&0x7fff == 0 {
			a.SE |= uint16(a.Mant >> 63) // a pseudo-denormal's proper exponent
		}
		return a, 0 // nothing was computed: a tiny a is no underflow
	}
	if y.cls == clsInf {
		return round80(e, x.wide(), full), 0
	}
	return remainder(e, x, y, nearest)
}

// remainder is Rem80 for finite non-zero x and y.
func remainder(e *Env, x, y num, nearest bool) (F80, uint16) {
	switch d := x.exp - y.exp; {
	case d >= 64:
		n := d&31 | 32
		_, r := divide(x.sig, y.sig, uint32(n))
		return remResult(e, r, y.exp+d-n, x.neg), C2
	case d >= 0:
		q, r := divide(x.sig, y.sig, uint32(d))
		if s := y.sig - r; nearest && (r > s || r == s && q&1 != 0) {
			q++
			r, x.neg = s, !x.neg
		}
		return remResult(e, r, y.exp, x.neg), quotientBits(q)
	case nearest && d == -1 && x.sig > y.sig: // x is more than half of y
		return remResult(e, y.sig-(x.sig-y.sig), y.exp-1, !x.neg), quotientBits(1)
	}
	return round80(e, x.wide(), full), 0
}

// remResult encodes r * 2^(exp-63). It is exact, but may be tiny.
func remResult(e *Env, r uint64, exp int32, neg bool) F80 {
	if r == 0 {
		return signed80(0, 0, neg)
	}
	n := bits.LeadingZeros64(r)
	return round80(e, wide{hi: r << n, exp: exp - int32(n), neg: neg}, full)
}

// quotientBits is the condition code for a quotient [SDM 2 FPREM].
func quotientBits(q uint64) (cc uint16) {
	if q&1 != 0 {
		cc |= C1
	}
	if q&2 != 0 {
		cc |= C3
	}
	if q&4 != 0 {
		cc |= C0
	}
	return cc
}

// divide is x*2^n/y and its remainder, for x and y with bit 63 set, n < 64.
// Only the low 64 bits of the quotient are right.
func divide(x, y uint64, n uint32) (q, r uint64) {
	if x >= y {
		q, x = 1, x-y
	}
	q2, r := bits.Div64(x>>(64-n), x<<n, y)
	return q<<n + q2, r
}
