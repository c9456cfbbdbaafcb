package fp

// This file is the approximations of SSE. CPUs differ in their bits and promise
// a relative error of at most 1.5 * 2^-12. Here they are the quotient and the
// root rounded to 12 significant bits, which is within 2^-12. MXCSR has no part
// in them and they raise nothing: denormal operands count as zeros, and tiny
// results are zeros [SDM 2 RCPPS, RSQRTPS].

// approximate rounds w to 12 bits.
func approximate(w wide) uint32 {
	const drop = 64 - 12
	w.lo = 0
	w.hi += 1 << (drop - 1)
	if w.hi>>63 == 0 { // rounded up to a power of two
		w.hi = 1 << 63
		w.exp++
	}
	w.hi &^= 1<<drop - 1
	return uint32(f32.round(&Env{Masks: AllExceptions, FTZ: true}, w))
}

// Rcp32 is about 1/a [SDM 2 RCPSS].
func Rcp32(a uint32) uint32 {
	x := f32.unpack(&Env{DAZ: true}, uint64(a))
	switch {
	case x.cls&clsNaN != 0:
		return a | uint32(f32.quiet())
	case x.cls == clsZero:
		return uint32(f32.signed(f32.inf, x.neg))
	case x.cls == clsInf || x.exp >= 126: // 1/2^126 may be 0, and is on AMD's
		return uint32(f32.signed(0, x.neg))
	}
	return approximate(quotient(num{sig: 1 << 63}, x))
}

// Rsqrt32 is about one over the square root of a [SDM 2 RSQRTSS].
func Rsqrt32(a uint32) uint32 {
	x := f32.unpack(&Env{DAZ: true}, uint64(a))
	switch {
	case x.cls&clsNaN != 0:
		return a | uint32(f32.quiet())
	case x.cls == clsZero:
		return uint32(f32.signed(f32.inf, x.neg))
	case x.neg:
		return uint32(f32.nan())
	case x.cls == clsInf:
		return 0
	}
	r := root(x)
	return approximate(quotient(num{sig: 1 << 63}, num{sig: r.hi, exp: r.exp}))
}
