package fp

import "testing"

// operands are normal numbers, so that the common path is measured.
var benchA, benchB = [4]uint64{0x400921fb54442d18, 0x3ff5bf0a8b145769, 0xc01c71c71c71c71c, 0x40590624dd2f1aa0},
	[4]uint64{0x4005bf0a8b145769, 0xbfe6a09e667f3bcd, 0x3fd5555555555555, 0x4093480000000001}

var sink64 uint64

func bench64(b *testing.B, fn func(e *Env, a, b uint64) uint64) {
	e := Env{Masks: AllExceptions, Flags: PE}
	for i := range b.N {
		sink64 = fn(&e, benchA[i&3], benchB[i>>2&3])
	}
}

func bench80(b *testing.B, fn func(e *Env, a, b F80) F80) {
	e := Env{Masks: AllExceptions, Prec: Prec64}
	var x, y [4]F80
	for i := range x {
		x[i], y[i] = From64(&e, benchA[i]), From64(&e, benchB[i])
	}
	for i := range b.N {
		sink64 = fn(&e, x[i&3], y[i>>2&3]).Mant
	}
}

func softAdd(e *Env, a, b uint64) uint64 { return f64.add(e, a, b, false) }
func posSqrt(e *Env, a, _ uint64) uint64 { return Sqrt64(e, a&^(1<<63)) }

func BenchmarkAdd64(b *testing.B)     { bench64(b, Add64) }
func BenchmarkMul64(b *testing.B)     { bench64(b, Mul64) }
func BenchmarkDiv64(b *testing.B)     { bench64(b, Div64) }
func BenchmarkSqrt64(b *testing.B)    { bench64(b, posSqrt) }
func BenchmarkSoftAdd64(b *testing.B) { bench64(b, softAdd) }
func BenchmarkSoftMul64(b *testing.B) { bench64(b, f64.mul) }
func BenchmarkSoftDiv64(b *testing.B) { bench64(b, f64.div) }
func BenchmarkSoftSqrt64(b *testing.B) {
	bench64(b, func(e *Env, a, _ uint64) uint64 { return f64.sqrt(e, a&^(1<<63)) })
}

func BenchmarkFMA64(b *testing.B) {
	bench64(b, func(e *Env, x, y uint64) uint64 { return FMA64(e, x, y, 0x3ff0000000000001, 0) })
}

func BenchmarkCompare64(b *testing.B) {
	bench64(b, func(e *Env, x, y uint64) uint64 { return uint64(Compare64(e, x, y, false)) })
}

func BenchmarkToInt64(b *testing.B) {
	bench64(b, func(e *Env, x, _ uint64) uint64 { return uint64(F64ToI64(e, x, Zero)) })
}

func BenchmarkFromInt64(b *testing.B) {
	bench64(b, func(e *Env, x, _ uint64) uint64 { return I64ToF64(e, int64(x>>20)) })
}

func BenchmarkAdd32(b *testing.B) {
	bench64(b, func(e *Env, x, y uint64) uint64 { return uint64(Add32(e, uint32(x>>32), uint32(y>>32))) })
}

func BenchmarkMul32(b *testing.B) {
	bench64(b, func(e *Env, x, y uint64) uint64 { return uint64(Mul32(e, uint32(x>>32), uint32(y>>32))) })
}

func BenchmarkF64To32(b *testing.B) {
	bench64(b, func(e *Env, x, _ uint64) uint64 { return uint64(F64To32(e, x)) })
}
func BenchmarkAdd80(b *testing.B) { bench80(b, Add80) }
func BenchmarkMul80(b *testing.B) { bench80(b, Mul80) }
func BenchmarkDiv80(b *testing.B) { bench80(b, Div80) }
func BenchmarkSin(b *testing.B) {
	bench80(b, func(e *Env, x, _ F80) F80 { r, _ := Sin(e, x); return r })
}
func BenchmarkAtan(b *testing.B) { bench80(b, Atan) }
func BenchmarkYL2X(b *testing.B) {
	bench80(b, func(e *Env, x, y F80) F80 { x.SE &= top80; return YL2X(e, x, y) })
}
