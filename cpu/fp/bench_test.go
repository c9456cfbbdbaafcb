package fp

import "testing"

// operands are normal numbers, so that the common path is measured.
var benchA, benchB = [4]uint64{0x400921fb54442d18, 0x3ff5bf0a8b145769, 0xc01c71c71c71c71c, 0x40590624dd2f1aa0},
	[4]uint64{0x4005bf0a8b145769, 0xbfe6a09e667f3bcd, 0x3fd5555555555555, 0x4093480000000001}

var sink64 uint64

func bench64(b *testing.B, flags uint8, fn func(e *Env, a, b uint64) uint64) {
	e := Env{Masks: AllExceptions, Flags: flags}
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

func BenchmarkAdd64(b *testing.B)        { bench64(b, 0, Add64) }
func BenchmarkMul64(b *testing.B)        { bench64(b, 0, Mul64) }
func BenchmarkDiv64(b *testing.B)        { bench64(b, 0, Div64) }
func BenchmarkAdd64Inexact(b *testing.B) { bench64(b, PE, Add64) }
func BenchmarkMul64Inexact(b *testing.B) { bench64(b, PE, Mul64) }
func BenchmarkDiv64Inexact(b *testing.B) { bench64(b, PE, Div64) }
func BenchmarkSqrt64(b *testing.B) {
	bench64(b, 0, func(e *Env, x, _ uint64) uint64 { return Sqrt64(e, x&^(1<<63)) })
}
func BenchmarkSqrt64Inexact(b *testing.B) {
	bench64(b, PE, func(e *Env, x, _ uint64) uint64 { return Sqrt64(e, x&^(1<<63)) })
}
func BenchmarkFMA64(b *testing.B) {
	bench64(b, 0, func(e *Env, x, y uint64) uint64 { return FMA64(e, x, y, 0x3ff0000000000001, 0) })
}
func BenchmarkCompare64(b *testing.B) {
	bench64(b, 0, func(e *Env, x, y uint64) uint64 { return uint64(Compare64(e, x, y, false)) })
}
func BenchmarkToInt64(b *testing.B) {
	bench64(b, 0, func(e *Env, x, _ uint64) uint64 { return uint64(F64ToI64(e, x, Zero)) })
}
func BenchmarkFromInt64(b *testing.B) {
	bench64(b, 0, func(e *Env, x, _ uint64) uint64 { return I64ToF64(e, int64(x>>20)) })
}
func BenchmarkAdd32(b *testing.B) {
	bench64(b, 0, func(e *Env, x, y uint64) uint64 { return uint64(Add32(e, uint32(x>>32), uint32(y>>32))) })
}
func BenchmarkMul32Inexact(b *testing.B) {
	bench64(b, PE, func(e *Env, x, y uint64) uint64 { return uint64(Mul32(e, uint32(x>>32), uint32(y>>32))) })
}
func BenchmarkF64To32(b *testing.B) {
	bench64(b, 0, func(e *Env, x, _ uint64) uint64 { return uint64(F64To32(e, x)) })
}
func BenchmarkAdd80(b *testing.B) { bench80(b, Add80) }
func BenchmarkMul80(b *testing.B) { bench80(b, Mul80) }
func BenchmarkDiv80(b *testing.B) { bench80(b, Div80) }
