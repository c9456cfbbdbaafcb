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

func normal32(a, b uint32) bool { return (a>>23+1)&0xff >= 2 && (b>>23+1)&0xff >= 2 }

func normal64(a, b uint64) bool { return (a>>52+1)&0x7ff >= 2 && (b>>52+1)&0x7ff >= 2 }

// settled32 reports whether r is normal, and not the least binade, into which a
// tiny result may have been rounded.
func settled32(r uint32) bool { return (r>>23&0xff)-2 < 0xfd }

func settled64(r uint64) bool { return (r>>52&0x7ff)-2 < 0x7fd }

func to32(a uint32) float32 { return math.Float32frombits(a) }

func to64(a uint64) float64 { return math.Float64frombits(a) }

// Add32 is a+b [SDM 2 ADDSS].
func Add32(e *Env, a, b uint32) uint32 {
	if e.fast() && normal32(a, b) {
		if r := math.Float32bits(float32(to32(a) + to32(b))); settled32(r) {
			return r
		}
	}
	return uint32(f32.add(e, uint64(a), uint64(b), false))
}

// Sub32 is a-b [SDM 2 SUBSS].
func Sub32(e *Env, a, b uint32) uint32 {
	if e.fast() && normal32(a, b) {
		if r := math.Float32bits(float32(to32(a) - to32(b))); settled32(r) {
			return r
		}
	}
	return uint32(f32.add(e, uint64(a), uint64(b), true))
}

// Mul32 is a*b [SDM 2 MULSS].
func Mul32(e *Env, a, b uint32) uint32 {
	if e.fast() && normal32(a, b) {
		if r := math.Float32bits(float32(to32(a) * to32(b))); settled32(r) {
			return r
		}
	}
	return uint32(f32.mul(e, uint64(a), uint64(b)))
}

// Div32 is a/b [SDM 2 DIVSS].
func Div32(e *Env, a, b uint32) uint32 {
	if e.fast() && normal32(a, b) {
		if r := math.Float32bits(float32(to32(a) / to32(b))); settled32(r) {
			return r
		}
	}
	return uint32(f32.div(e, uint64(a), uint64(b)))
}

// Sqrt32 is the square root of a [SDM 2 SQRTSS].
func Sqrt32(e *Env, a uint32) uint32 {
	if e.fast() && a>>31 == 0 && normal32(a, a) {
		return math.Float32bits(float32(math.Sqrt(float64(to32(a)))))
	}
	return uint32(f32.sqrt(e, uint64(a)))
}

// Add64 is a+b [SDM 2 ADDSD].
func Add64(e *Env, a, b uint64) uint64 {
	if e.fast() && normal64(a, b) {
		if r := math.Float64bits(float64(to64(a) + to64(b))); settled64(r) {
			return r
		}
	}
	return f64.add(e, a, b, false)
}

// Sub64 is a-b [SDM 2 SUBSD].
func Sub64(e *Env, a, b uint64) uint64 {
	if e.fast() && normal64(a, b) {
		if r := math.Float64bits(float64(to64(a) - to64(b))); settled64(r) {
			return r
		}
	}
	return f64.add(e, a, b, true)
}

// Mul64 is a*b [SDM 2 MULSD].
func Mul64(e *Env, a, b uint64) uint64 {
	if e.fast() && normal64(a, b) {
		if r := math.Float64bits(float64(to64(a) * to64(b))); settled64(r) {
			return r
		}
	}
	return f64.mul(e, a, b)
}

// Div64 is a/b [SDM 2 DIVSD].
func Div64(e *Env, a, b uint64) uint64 {
	if e.fast() && normal64(a, b) {
		if r := math.Float64bits(float64(to64(a) / to64(b))); settled64(r) {
			return r
		}
	}
	return f64.div(e, a, b)
}

// Sqrt64 is the square root of a [SDM 2 SQRTSD].
func Sqrt64(e *Env, a uint64) uint64 {
	if e.fast() && a>>63 == 0 && normal64(a, a) {
		return math.Float64bits(math.Sqrt(to64(a)))
	}
	return f64.sqrt(e, a)
}
