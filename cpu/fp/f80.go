package fp

import "math/bits"

// F80 is an x87 register or an 80-bit operand in memory: sign and exponent
// above a 64-bit significand with an explicit integer bit [SDM 1 8.2].
type F80 struct {
	Mant uint64 `cbor:"1,keyasint"`
	SE   uint16 `cbor:"2,keyasint"` // sign in bit 15, biased exponent below
}

const (
	bias80 = 16383
	top80  = 0x7fff // exponent field of infinities and NaNs
	sign80 = 0x8000
	int80  = 1 << 63 // integer bit
	qnan80 = 1 << 62 // quiet bit

	// wrap80 is added to or subtracted from the exponent of a result with an
	// unmasked underflow or overflow [SDM 1 8.5.4].
	wrap80 = 24576
)

// Indefinite is the default NaN [SDM 1 4.8.3.7].
var Indefinite = F80{Mant: 3 << 62, SE: sign80 | top80}

// Neg reports whether the sign bit is set.
func (a F80) Neg() bool { return a.SE&sign80 != 0 }

func signed80(mant uint64, exp uint16, neg bool) F80 {
	if neg {
		exp |= sign80
	}
	return F80{mant, exp}
}

// unpack classifies a. Why: denormals, and pseudo-denormals whose integer bit
// is set, have the exponent 1-bias [SDM 1 8.2.2].
func (a F80) unpack() num {
	exp := int32(a.SE & top80)
	if a.Mant>>63 != 0 && uint32(exp-1) < top80-1 {
		return num{a.Mant, exp - bias80, a.Neg(), clsNormal}
	}
	return a.unpackOdd(exp)
}

func (a F80) unpackOdd(exp int32) num {
	x := num{neg: a.Neg()}
	switch {
	case exp == 0 && a.Mant == 0:
		x.cls = clsZero
	case exp == 0:
		n := bits.LeadingZeros64(a.Mant)
		x.sig, x.exp, x.cls = a.Mant<<n, 1-bias80-int32(n), clsDen
	case a.Mant&int80 == 0:
		x.cls = clsBad
	case a.Mant == int80:
		x.cls = clsInf
	case a.Mant&qnan80 != 0:
		x.cls = clsQNaN
	default:
		x.cls = clsSNaN
	}
	return x
}

// nan80 is the result of an operation on a and b with these classes, one of
// which is a NaN or unsupported. A quiet NaN goes before a signalling one;
// between two alike, the larger significand does [SDM 1 4.8.3.5 table 4-7], and
// of equal ones the positive.
func nan80(e *Env, a, b F80, ac, bc class) F80 {
	e.den = 0
	if (ac|bc)&clsBad != 0 {
		e.Flags |= IE
		return Indefinite
	}
	if (ac|bc)&clsSNaN != 0 {
		e.Flags |= IE
	}
	r := a
	switch {
	case ac&clsNaN == 0:
		r = b
	case bc&clsNaN == 0:
	case ac != bc:
		if bc == clsQNaN {
			r = b
		}
	case b.Mant > a.Mant || b.Mant == a.Mant && a.Neg():
		r = b
	}
	r.Mant |= qnan80
	return r
}

// pack80 encodes a settled result: see addOdd and its kin.
func pack80(e *Env, r num) F80 {
	switch r.cls {
	case clsZero:
		return signed80(0, 0, r.neg)
	case clsInf:
		return signed80(int80, top80, r.neg)
	case clsQNaN:
		return Indefinite
	}
	return round80(e, r.wide(), e.keep())
}

// keep is the mask of significand bits that precision control leaves.
func (e *Env) keep() uint64 {
	switch e.Prec {
	case Prec24:
		return full &^ (1<<40 - 1)
	case Prec53:
		return full &^ (1<<11 - 1)
	}
	return full
}

// full is the mask that keeps all bits, for operations that precision control
// does not affect [SDM 1 8.1.5.2].
const full uint64 = 1<<64 - 1

// roundSig rounds hi:lo to the bits in keep. carry is 1 if hi overflowed: it is
// 0 then. rem is the part that was rounded away.
func (e *Env) roundSig(hi, lo uint64, neg bool, keep uint64) (sig, carry, rem uint64) {
	if keep == full {
		rem = lo
	} else {
		n := uint(bits.LeadingZeros64(^keep))
		rem = hi<<n | sticky(lo)
		hi &= keep
	}
	e.C1 = false
	if rem == 0 {
		return hi, 0, 0
	}
	unit := keep & -keep
	odd := uint64(0)
	if hi&unit != 0 {
		odd = 1
	}
	if increment(e.Round, neg, odd, rem) != 0 {
		e.C1 = true
		hi, carry = bits.Add64(hi, unit, 0)
	}
	return hi, carry, rem
}

// round80 encodes w rounded to the bits in keep, and raises what that raises.
func round80(e *Env, w wide, keep uint64) F80 {
	sig, carry, rem := e.roundSig(w.hi, w.lo, w.neg, keep)
	exp := w.exp + bias80
	if carry != 0 {
		sig = int80
		exp++
	}
	if exp <= 0 {
		return tiny80(e, w, sig, exp, rem, keep)
	}
	if rem != 0 {
		e.Flags |= PE
	}
	if exp >= top80 {
		return overflow80(e, w.neg, sig, exp, keep)
	}
	return signed80(sig, uint16(exp), w.neg)
}

// overflow80 is the result for a number that is too large. sig and exp are its
// rounded significand and biased exponent. Why: an unmasked overflow leaves a
// result whose exponent the handler can correct; FSCALE can overflow by more
// than that, and then gives infinity [SDM 1 8.5.4].
func overflow80(e *Env, neg bool, sig uint64, exp int32, keep uint64) F80 {
	e.Flags |= OE
	wraps := e.Masks&OE == 0
	if wraps && exp-wrap80 < top80 {
		return signed80(sig, uint16(exp-wrap80), neg)
	}
	e.Flags |= PE
	if !wraps && (e.Round == Zero || e.Round == Down && !neg || e.Round == Up && neg) {
		e.C1 = false
		return signed80(keep, top80-1, neg)
	}
	e.C1 = true
	return signed80(int80, top80, neg)
}

// tiny80 is the result for w, which is tiny even when rounded: to sig and the
// biased exponent exp, with rem rounded away. Underflow is the mirror image of
// overflow [SDM 1 8.5.5].
func tiny80(e *Env, w wide, sig uint64, exp int32, rem, keep uint64) F80 {
	if e.Masks&UE == 0 {
		e.Flags |= UE
		if exp+wrap80 <= 0 {
			e.Flags |= PE
			e.C1 = false
			return signed80(0, 0, w.neg)
		}
		if rem != 0 {
			e.Flags |= PE
		}
		return signed80(sig, uint16(exp+wrap80), w.neg)
	}
	hi, lo := shiftRight128(w.hi, w.lo, uint32(1-bias80-w.exp))
	sig, _, rem = e.roundSig(hi, lo, w.neg, keep)
	if rem != 0 {
		e.Flags |= UE | PE
	}
	return signed80(sig, uint16(sig>>63), w.neg) // may have become normal
}

// add80 is a+b, or a-b if minus is set.
func add80(e *Env, a, b F80, minus bool) F80 {
	e.C1 = false
	x, y := a.unpack(), b.unpack()
	if c := x.cls | y.cls | e.den; c != clsNormal {
		if c&clsNaN != 0 {
			return nan80(e, a, b, x.cls, y.cls)
		}
		y.neg = y.neg != minus
		r, ok := addOdd(e, x, y)
		e.den = 0
		if ok {
			return pack80(e, r)
		}
		minus = false
	}
	y.neg = y.neg != minus
	w := sum(x.wide(), y.wide())
	if w.hi == 0 {
		return signed80(0, 0, e.Round == Down)
	}
	return round80(e, w, e.keep())
}

// Add80 is a+b [SDM 2 FADD].
func Add80(e *Env, a, b F80) F80 { return add80(e, a, b, false) }

// Sub80 is a-b [SDM 2 FSUB].
func Sub80(e *Env, a, b F80) F80 { return add80(e, a, b, true) }

// Mul80 is a*b [SDM 2 FMUL].
func Mul80(e *Env, a, b F80) F80 {
	e.C1 = false
	x, y := a.unpack(), b.unpack()
	if c := x.cls | y.cls | e.den; c != clsNormal {
		if c&clsNaN != 0 {
			return nan80(e, a, b, x.cls, y.cls)
		}
		r, ok := mulOdd(e, x, y)
		e.den = 0
		if ok {
			return pack80(e, r)
		}
	}
	return round80(e, product(x, y), e.keep())
}

// Div80 is a/b [SDM 2 FDIV].
func Div80(e *Env, a, b F80) F80 {
	e.C1 = false
	x, y := a.unpack(), b.unpack()
	if c := x.cls | y.cls | e.den; c != clsNormal {
		if c&clsNaN != 0 {
			return nan80(e, a, b, x.cls, y.cls)
		}
		r, ok := divOdd(e, x, y)
		e.den = 0
		if ok {
			return pack80(e, r)
		}
	}
	return round80(e, quotient(x, y), e.keep())
}

// Sqrt80 is the square root of a [SDM 2 FSQRT].
func Sqrt80(e *Env, a F80) F80 {
	e.C1 = false
	x := a.unpack()
	if x.cls&clsNaN != 0 {
		return nan80(e, a, a, x.cls, x.cls)
	}
	if x.cls != clsNormal || x.neg {
		if r, ok := sqrtOdd(e, x); ok {
			return pack80(e, r)
		}
	}
	return round80(e, root(x), e.keep())
}
