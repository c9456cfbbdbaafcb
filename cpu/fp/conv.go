package fp

import "math/bits"

// convert changes a, which is x in format from, to the format f.
func (f *format) convert(e *Env, from *format, a uint64, x num) uint64 {
	if x.cls&clsNaN != 0 {
		if x.cls == clsSNaN {
			e.Flags |= IE
		}
		frac := a << (63 - from.frac) & (1<<63 - 1) // fraction from bit 62 down
		return f.signed(f.inf|f.quiet()|frac>>(63-f.frac), x.neg)
	}
	if e.denormal(x.cls) {
		return 0
	}
	return f.pack(e, x)
}

// whole is a number rounded to an integer.
type whole struct {
	mag     uint64 // magnitude
	inexact bool
	up      bool // the magnitude was rounded up
	ok      bool // the magnitude fits
}

// integer rounds x, which is finite, to an integer.
func integer(x num, rc uint8) whole {
	mag, rem := uint64(0), uint64(1) // less than a half
	switch {
	case x.cls == clsZero:
		return whole{ok: true}
	case x.exp > 63:
		return whole{}
	case x.exp >= 0:
		mag, rem = x.sig>>(63-uint32(x.exp)), x.sig<<uint32(x.exp)<<1
	case x.exp == -1:
		rem = x.sig
	}
	if rem == 0 {
		return whole{mag: mag, ok: true}
	}
	inc := increment(rc, x.neg, mag, rem) // cannot overflow: rem != 0, so exp < 63
	return whole{mag: mag + inc, inexact: true, up: inc != 0, ok: true}
}

// toInt converts x to a signed integer of the given number of bits. What does
// not fit, and NaNs, raise IE and give the integer indefinite, the most negative
// integer [SDM 1 4.8.3.7]. DE is never raised.
func toInt(e *Env, x num, rc uint8, size uint) int64 {
	if x.cls&(clsNaN|clsInf) == 0 {
		w := integer(x, rc)
		limit := uint64(1) << (size - 1) // magnitude of the most negative
		if w.ok && (w.mag < limit || w.mag == limit && x.neg) {
			e.wasRounded(w)
			if x.neg {
				return -int64(w.mag)
			}
			return int64(w.mag)
		}
	}
	e.Flags |= IE
	return -1 << (size - 1)
}

// wasRounded raises PE if w is inexact, and sets C1.
func (e *Env) wasRounded(w whole) {
	if w.inexact {
		e.Flags |= PE
	}
	e.C1 = w.up
}

// fromInt unpacks an integer; every one is exact in a num.
func fromInt(v int64) num {
	if v == 0 {
		return num{cls: clsZero}
	}
	mag := uint64(v)
	if v < 0 {
		mag = -mag
	}
	n := bits.LeadingZeros64(mag)
	return num{sig: mag << n, exp: 63 - int32(n), neg: v < 0}
}

// roundInt rounds a to an integer in the same format. imm is that of ROUNDSS:
// bits 1:0 the rounding, bit 2 use the environment's instead, bit 3 do not
// raise PE [SDM 2 ROUNDPD]. DE is never raised.
func (f *format) roundInt(e *Env, a uint64, imm uint8) uint64 {
	x := f.unpack(e, a)
	switch {
	case x.cls&clsNaN != 0:
		return f.nan2(e, a, a)
	case x.cls == clsZero:
		return f.signed(0, x.neg)
	case x.cls == clsInf || x.exp >= int32(f.frac):
		return a
	}
	rc := imm & 3
	if imm&4 != 0 {
		rc = e.Round
	}
	w := integer(x, rc)
	if w.inexact && imm&8 == 0 {
		e.Flags |= PE
	}
	r := fromInt(int64(w.mag))
	r.neg = x.neg
	return f.pack(e, r)
}

// F32ToI32 rounds a to an integer by rc, which is e.Round for CVTSS2SI and Zero
// for CVTTSS2SI [SDM 2 CVTSS2SI, CVTPS2DQ].
func F32ToI32(e *Env, a uint32, rc uint8) int32 {
	return int32(toInt(e, f32.unpack(e, uint64(a)), rc, 32))
}

// F32ToI64 is like [F32ToI32].
func F32ToI64(e *Env, a uint32, rc uint8) int64 {
	return toInt(e, f32.unpack(e, uint64(a)), rc, 64)
}

// F64ToI32 is like [F32ToI32] [SDM 2 CVTSD2SI, CVTPD2DQ].
func F64ToI32(e *Env, a uint64, rc uint8) int32 {
	return int32(toInt(e, f64.unpack(e, a), rc, 32))
}

// F64ToI64 is like [F32ToI32].
func F64ToI64(e *Env, a uint64, rc uint8) int64 { return toInt(e, f64.unpack(e, a), rc, 64) }

// Round32 rounds a to an integer; imm is that of ROUNDSS [SDM 2 ROUNDSS].
func Round32(e *Env, a uint32, imm uint8) uint32 {
	return uint32(f32.roundInt(e, uint64(a), imm))
}

// Round64 rounds a to an integer; imm is that of ROUNDSD [SDM 2 ROUNDSD].
func Round64(e *Env, a uint64, imm uint8) uint64 { return f64.roundInt(e, a, imm) }

// F16To32 converts a half-precision number. DAZ does not apply, and DE is never
// raised [SDM 2 VCVTPH2PS].
func F16To32(e *Env, a uint16) uint32 {
	x := f16.unpackOdd(uint64(a), false)
	if exp := int32(a>>10) & f16.top; exp != 0 && exp != f16.top {
		x = f16.unpack(e, uint64(a))
	}
	if x.cls == clsDen {
		x.cls = clsNormal
	}
	return uint32(f32.convert(e, &f16, uint64(a), x))
}

// F32To16 converts to half precision; imm is that of VCVTPS2PH: bits 1:0 the
// rounding, bit 2 use the environment's instead. FTZ does not apply
// [SDM 2 VCVTPS2PH].
func F32To16(e *Env, a uint32, imm uint8) uint16 {
	local := *e
	local.FTZ = false
	if imm&4 == 0 {
		local.Round = imm & 3
	}
	r := f16.convert(&local, &f32, uint64(a), f32.unpack(e, uint64(a)))
	e.Flags = local.Flags
	return uint16(r)
}
