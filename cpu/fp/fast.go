package fp

import "math"

// This file holds the operations that have a fast path through the host's own
// floating point, three to five times quicker. It is taken only if nothing can
// depend on the host: to nearest, with all exceptions masked and inexact raised
// already, for normal operands and a result well inside the normal range. Then
// every IEEE 754 implementation computes the same bits and raises nothing new.
// The explicit conversions keep the compiler from fusing operations.

// hostFloats can be set to false to rule out the host's arithmetic.
const hostFloats = true

// fast reports whether the environment allows the fast path.
func (e *Env) fast() bool {
	return hostFloats && e.Flags&PE != 0 && e.Round == Nearest && e.Masks == AllExceptions
}

// HostOK reports whether MXCSR allows the fast path; engines with such a path of
// their own ask it too.
func HostOK(mxcsr uint32) bool {
	const masks, rounding, inexact = 0x1f80, 0x6000, 0x20
	return hostFloats && mxcsr&(masks|rounding|inexact) == masks|inexact
}

// Plain32 and Plain64 report whether both operands are normal numbers.
func Plain32(a, b uint32) bool { return (a>>23+1)&0xff >= 2 && (b>>23+1)&0xff >= 2 }

func Plain64(a, b uint64) bool { return (a>>52+1)&0x7ff >= 2 && (b>>52+1)&0x7ff >= 2 }

// Ordered32 and Ordered64 report whether both are normal numbers or zeros, which
// compare without exceptions in any environment.
func Ordered32(a, b uint32) bool { return (Plain32(a, a) || a<<1 == 0) && (Plain32(b, b) || b<<1 == 0) }

func Ordered64(a, b uint64) bool { return (Plain64(a, a) || a<<1 == 0) && (Plain64(b, b) || b<<1 == 0) }

// Fits32 and Fits64 report whether a is normal or zero and truncates to a signed
// integer of so many bits.
func Fits32(a uint64) bool { return (a>>52&0x7ff)-1 < 1023+30 || a<<1 == 0 }

func Fits64(a uint64) bool { return (a>>52&0x7ff)-1 < 1023+62 || a<<1 == 0 }

// Settled32 and Settled64 report whether r is normal, and not the least binade, into which a
// tiny result may have been rounded.
func Settled32(r uint32) bool { return (r>>23&0xff)-2 < 0xfd }

func Settled64(r uint64) bool { return (r>>52&0x7ff)-2 < 0x7fd }

func to32(a uint32) float32 { return math.Float32frombits(a) }

func to64(a uint64) float64 { return math.Float64frombits(a) }

// Add32 is a+b [SDM 2 ADDSS].
func Add32(e *Env, a, b uint32) uint32 {
	if e.fast() && Plain32(a, b) {
		if r := math.Float32bits(float32(to32(a) + to32(b))); Settled32(r) {
			return r
		}
	}
	return uint32(f32.add(e, uint64(a), uint64(b), false))
}

// Sub32 is a-b [SDM 2 SUBSS].
func Sub32(e *Env, a, b uint32) uint32 {
	if e.fast() && Plain32(a, b) {
		if r := math.Float32bits(float32(to32(a) - to32(b))); Settled32(r) {
			return r
		}
	}
	return uint32(f32.add(e, uint64(a), uint64(b), true))
}

// Mul32 is a*b [SDM 2 MULSS].
func Mul32(e *Env, a, b uint32) uint32 {
	if e.fast() && Plain32(a, b) {
		if r := math.Float32bits(float32(to32(a) * to32(b))); Settled32(r) {
			return r
		}
	}
	return uint32(f32.mul(e, uint64(a), uint64(b)))
}

// Div32 is a/b [SDM 2 DIVSS].
func Div32(e *Env, a, b uint32) uint32 {
	if e.fast() && Plain32(a, b) {
		if r := math.Float32bits(float32(to32(a) / to32(b))); Settled32(r) {
			return r
		}
	}
	return uint32(f32.div(e, uint64(a), uint64(b)))
}

// Sqrt32 is the square root of a [SDM 2 SQRTSS].
func Sqrt32(e *Env, a uint32) uint32 {
	if e.fast() && a>>31 == 0 && Plain32(a, a) {
		return math.Float32bits(float32(math.Sqrt(float64(to32(a)))))
	}
	return uint32(f32.sqrt(e, uint64(a)))
}

// Add64 is a+b [SDM 2 ADDSD].
func Add64(e *Env, a, b uint64) uint64 {
	if e.fast() && Plain64(a, b) {
		if r := math.Float64bits(float64(to64(a) + to64(b))); Settled64(r) {
			return r
		}
	}
	return f64.add(e, a, b, false)
}

// Sub64 is a-b [SDM 2 SUBSD].
func Sub64(e *Env, a, b uint64) uint64 {
	if e.fast() && Plain64(a, b) {
		if r := math.Float64bits(float64(to64(a) - to64(b))); Settled64(r) {
			return r
		}
	}
	return f64.add(e, a, b, true)
}

// Mul64 is a*b [SDM 2 MULSD].
func Mul64(e *Env, a, b uint64) uint64 {
	if e.fast() && Plain64(a, b) {
		if r := math.Float64bits(float64(to64(a) * to64(b))); Settled64(r) {
			return r
		}
	}
	return f64.mul(e, a, b)
}

// Div64 is a/b [SDM 2 DIVSD].
func Div64(e *Env, a, b uint64) uint64 {
	if e.fast() && Plain64(a, b) {
		if r := math.Float64bits(float64(to64(a) / to64(b))); Settled64(r) {
			return r
		}
	}
	return f64.div(e, a, b)
}

// Sqrt64 is the square root of a [SDM 2 SQRTSD].
func Sqrt64(e *Env, a uint64) uint64 {
	if e.fast() && a>>63 == 0 && Plain64(a, a) {
		return math.Float64bits(math.Sqrt(to64(a)))
	}
	return f64.sqrt(e, a)
}

// Exact64 reports whether a binary64 holds v exactly. Why: not every Go port
// rounds larger integers once only; 386 rounds to 64, then to 32 bits.
func Exact64(v int64) bool { return uint64(v+1<<53) <= 1<<54 }

// F32To64 converts a to binary64 [SDM 2 CVTSS2SD].
func F32To64(e *Env, a uint32) uint64 {
	if Plain32(a, a) { // exact, in any environment
		return uint64(a>>31)<<63 | uint64(a&^(1<<31))<<29 + (1023-127)<<52
	}
	return f64.convert(e, &f32, uint64(a), f32.unpack(e, uint64(a)))
}

// F64To32 converts a to binary32 [SDM 2 CVTSD2SS].
func F64To32(e *Env, a uint64) uint32 {
	if e.fast() && Plain64(a, a) {
		if r := math.Float32bits(float32(to64(a))); Settled32(r) {
			return r
		}
	}
	return uint32(f32.convert(e, &f64, a, f64.unpack(e, a)))
}

// I64ToF32 converts a signed integer of 64 (or 32) bits [SDM 2 CVTSI2SS, CVTDQ2PS].
func I64ToF32(e *Env, v int64) uint32 {
	if e.fast() && Exact64(v) {
		return math.Float32bits(float32(float64(v)))
	}
	return uint32(f32.pack(e, fromInt(v)))
}

// I64ToF64 converts a signed integer of 64 (or 32) bits [SDM 2 CVTSI2SD, CVTDQ2PD].
func I64ToF64(e *Env, v int64) uint64 {
	if Exact64(v) {
		return math.Float64bits(float64(v))
	}
	return f64.pack(e, fromInt(v))
}
