package fp

import "math/bits"

// format describes an interchange format. Values are right-aligned in a uint64.
type format struct {
	frac uint   // bits of the fraction
	bias int32  // of the exponent
	top  int32  // exponent field of infinities and NaNs
	inf  uint64 // +infinity
	sign uint64
}

var (
	f16 = format{frac: 10, bias: 15, top: 0x1f, inf: 0x1f << 10, sign: 1 << 15}
	f32 = format{frac: 23, bias: 127, top: 0xff, inf: 0xff << 23, sign: 1 << 31}
	f64 = format{frac: 52, bias: 1023, top: 0x7ff, inf: 0x7ff << 52, sign: 1 << 63}
)

func (f *format) quiet() uint64 { return 1 << (f.frac - 1) }

// nan is the default NaN, "QNaN floating-point indefinite" [SDM 1 4.8.3.7].
func (f *format) nan() uint64 { return f.sign | f.inf | f.quiet() }

func (f *format) isNaN(a uint64) bool { return a&^f.sign > f.inf }

func (f *format) isSNaN(a uint64) bool { return f.isNaN(a) && a&f.quiet() == 0 }

// signed is the magnitude v with the sign neg.
func (f *format) signed(v uint64, neg bool) uint64 {
	if neg {
		v |= f.sign
	}
	return v
}

// unpack classifies a, as an operand in the environment e.
func (f *format) unpack(e *Env, a uint64) num {
	exp := int32(a>>f.frac) & f.top
	if uint32(exp-1) < uint32(f.top-1) {
		return num{a<<(63-f.frac) | 1<<63, exp - f.bias, a&f.sign != 0, clsNormal}
	}
	return f.unpackOdd(a, e.DAZ)
}

// unpackOdd unpacks what is not a normal number.
func (f *format) unpackOdd(a uint64, daz bool) num {
	neg, mag := a&f.sign != 0, a&^f.sign
	switch {
	case mag == 0 || daz && mag < f.inf:
		return num{neg: neg, cls: clsZero}
	case mag < f.inf:
		n := bits.LeadingZeros64(mag)
		return num{mag << n, 64 - int32(n) - f.bias - int32(f.frac), neg, clsDen}
	case mag == f.inf:
		return num{neg: neg, cls: clsInf}
	case mag&f.quiet() != 0:
		return num{neg: neg, cls: clsQNaN}
	}
	return num{neg: neg, cls: clsSNaN}
}

// nan2 is the result of an operation on a and b, of which one is a NaN: the
// first that is one, made quiet [SDM 1 4.8.3.5 table 4-7].
func (f *format) nan2(e *Env, a, b uint64) uint64 {
	if f.isSNaN(a) || f.isSNaN(b) {
		e.Flags |= IE
	}
	if f.isNaN(a) {
		return a | f.quiet()
	}
	return b | f.quiet()
}

// pack encodes a settled result: see addOdd and its kin.
func (f *format) pack(e *Env, r num) uint64 {
	switch r.cls {
	case clsZero:
		return f.signed(0, r.neg)
	case clsInf:
		return f.signed(f.inf, r.neg)
	case clsQNaN:
		return f.nan()
	}
	return f.round(e, r.wide())
}

// round encodes w, rounded as e says, and raises what that raises.
func (f *format) round(e *Env, w wide) uint64 {
	biased := w.exp + f.bias
	sig, rem := w.hi>>(63-f.frac), w.hi<<(f.frac+1)|sticky(w.lo)
	if uint32(biased-1) >= uint32(f.top-1) {
		if biased <= 0 {
			return f.roundTiny(e, w, uint32(1-biased))
		}
		return f.overflow(e, w.neg, rem)
	}
	if rem != 0 {
		e.Flags |= PE
		sig += increment(e.Round, w.neg, sig, rem)
	}
	// The integer bit of sig, and a carry out of it, count in the exponent.
	v := uint64(biased-1)<<f.frac + sig
	if v >= f.inf {
		return f.overflow(e, w.neg, rem)
	}
	return f.signed(v, w.neg)
}

// overflow is the result for a number whose magnitude is too large; rem is the
// part of its significand that was rounded away [SDM 1 4.9.1.4].
func (f *format) overflow(e *Env, neg bool, rem uint64) uint64 {
	e.Flags |= OE
	if e.Masks&OE == 0 {
		e.Flags |= PE & -uint8(sticky(rem))
		return 0 // not stored
	}
	e.Flags |= PE
	if e.Round == Zero || e.Round == Down && !neg || e.Round == Up && neg {
		return f.signed(f.inf-1, neg)
	}
	return f.signed(f.inf, neg)
}

// roundTiny rounds a number below the normal range by n binades. It is tiny
// only if it still is when rounded with an unbounded exponent [SDM 1 4.9.1.5].
func (f *format) roundTiny(e *Env, w wide, n uint32) uint64 {
	sig, rem := w.hi>>(63-f.frac), w.hi<<(f.frac+1)|sticky(w.lo)
	up := uint64(0)
	if rem != 0 {
		up = increment(e.Round, w.neg, sig, rem)
	}
	tiny := n > 1 || sig+up < 2<<f.frac
	if tiny && e.Masks&UE == 0 {
		e.Flags |= UE | PE&-uint8(sticky(rem))
		return 0 // not stored
	}
	if tiny && e.FTZ {
		e.Flags |= UE | PE
		return f.signed(0, w.neg)
	}
	hi, lo := shiftRight128(w.hi, w.lo, n)
	sig, rem = hi>>(63-f.frac), hi<<(f.frac+1)|sticky(lo)
	if rem != 0 {
		e.Flags |= PE
		if tiny {
			e.Flags |= UE
		}
		sig += increment(e.Round, w.neg, sig, rem)
	}
	return f.signed(sig, w.neg)
}
