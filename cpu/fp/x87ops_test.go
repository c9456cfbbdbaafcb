package fp

import (
	"fmt"
	"math/bits"
)

// checkX87 compares results, exceptions and condition code.
func (o *op) checkX87(e *Env, got, want answer) (d string) {
	flags := uint8(want.Flags) & AllExceptions
	if e.Flags != flags {
		d = fmt.Sprintf("flags %02x, want %02x; ", e.Flags, flags)
	}
	cc := uint32(C0 | C1 | C2 | C3)
	if got.Flags == 0 {
		cc = uint32(C1)
	}
	if o.approx {
		cc = uint32(C2)
	}
	if e.C1 {
		got.Flags |= uint32(C1)
	}
	got.Flags &= cc
	if got.Flags != want.Flags&cc {
		d += fmt.Sprintf("code %04x, want %04x; ", got.Flags, want.Flags&cc)
	}
	if o.approx && o.near(&got, &want) {
		return d
	}
	if e.Unmasked()&(IE|DE|ZE) != 0 {
		return d // the destination stays as it was
	}
	if e.Unmasked()&(OE|UE) != 0 && o.code >= 140 && o.code < 150 {
		return d // nothing is stored
	}
	if o.two != (got.R1 != [2]uint64{}) {
		got.R1 = [2]uint64{}
	}
	if !o.two {
		want.R1 = [2]uint64{}
	}
	if got.R0 != want.R0 || got.R1 != want.R1 || got.EFlags != want.EFlags&0x45 {
		d += fmt.Sprintf("result %x %x %x, want %x %x %x", got.R0, got.R1, got.EFlags, want.R0, want.R1, want.EFlags&0x45)
	}
	return d
}

func f80of(v [2]uint64) F80 { return F80{v[0], uint16(v[1])} }

func words(v F80) [2]uint64 { return [2]uint64{v.Mant, uint64(v.SE)} }

func res80(v F80) answer { return answer{R0: words(v)} }

func bin80(fn func(e *Env, a, b F80) F80) func(*Env, *request) answer {
	return func(e *Env, q *request) answer { return res80(fn(e, f80of(q.A), f80of(q.B))) }
}

func un80(fn func(e *Env, a F80) F80) func(*Env, *request) answer {
	return func(e *Env, q *request) answer { return res80(fn(e, f80of(q.A))) }
}

func rem80(nearest bool) func(*Env, *request) answer {
	return func(e *Env, q *request) answer {
		r, cc := Rem80(e, f80of(q.A), f80of(q.B), nearest)
		return answer{R0: words(r), Flags: uint32(cc) | 1}
	}
}

func com80(b func(e *Env, q *request) F80, signalling bool) func(*Env, *request) answer {
	return func(e *Env, q *request) answer {
		r := Compare80(e, f80of(q.A), b(e, q), signalling)
		return answer{R0: q.A, Flags: uint32(r.Condition()) | 1}
	}
}

func comi80(signalling bool) func(*Env, *request) answer {
	return func(e *Env, q *request) answer {
		return eflags(Compare80(e, f80of(q.A), f80of(q.B), signalling))
	}
}

// mem applies fn to ST0 and a memory operand.
func mem(fn func(e *Env, a, b F80) F80, b func(e *Env, q *request) F80) func(*Env, *request) answer {
	return func(e *Env, q *request) answer { return res80(fn(e, f80of(q.A), b(e, q))) }
}

func rev(fn func(e *Env, a, b F80) F80) func(e *Env, a, b F80) F80 {
	return func(e *Env, a, b F80) F80 { return fn(e, b, a) }
}

func memReg(_ *Env, q *request) F80 { return f80of(q.B) }
func memZero(*Env, *request) F80    { return F80{} }
func mem32(e *Env, q *request) F80  { return Operand32(e, uint32(q.C[0])) }
func mem64(e *Env, q *request) F80  { return Operand64(e, q.C[0]) }
func memI16(_ *Env, q *request) F80 { return FromInt80(int64(int16(q.C[0]))) }
func memI32(_ *Env, q *request) F80 { return FromInt80(int64(int32(q.C[0]))) }
func memI64(_ *Env, q *request) F80 { return FromInt80(int64(q.C[0])) }

// push is a load: ST0 is new, ST1 what ST0 was.
func push(b func(e *Env, q *request) F80) func(*Env, *request) answer {
	return func(e *Env, q *request) answer { return res80(b(e, q)) }
}

func fist(size uint, trunc bool) func(*Env, *request) answer {
	return func(e *Env, q *request) answer {
		rc := e.Round
		if trunc {
			rc = Zero
		}
		v := uint64(ToInt80(e, f80of(q.A), rc, size)) << (64 - size) >> (64 - size)
		return answer{R0: [2]uint64{q.C[0]>>size<<size | v, q.C[1]}}
	}
}

func constant(n int) func(*Env, *request) answer {
	return func(e *Env, _ *request) answer { return res80(Constant(e, n)) }
}

// near makes got equal want if it is at most two units off.
func (o *op) near(got, want *answer) bool {
	diff := func(a, b [2]uint64) bool {
		rank := func(v [2]uint64) (hi, lo uint64) { // numbers to integers, in order
			exp := v[1] & top80
			return exp >> 1, exp<<63 | v[0]&(int80-1)
		}
		ah, al := rank(a)
		bh, bl := rank(b)
		lo, c := bits.Sub64(al, bl, 0)
		hi, _ := bits.Sub64(ah, bh, c)
		lo, c = bits.Add64(lo, 2, 0)
		return a[1]&sign80 == b[1]&sign80 && hi+c == 0 && lo <= 4
	}
	return diff(got.R0, want.R0) && (!o.two || diff(got.R1, want.R1))
}

// trig is an operation that sets C2 if the operand is out of range.
func trig(fn func(e *Env, a F80) (F80, bool)) func(*Env, *request) answer {
	return func(e *Env, q *request) answer {
		r, in := fn(e, f80of(q.A))
		return answer{R0: words(r), Flags: ones32(!in, C2)}
	}
}

func ones32(v bool, mask uint16) uint32 { return uint32(ones(v, uint64(mask))) | 1 }

var transOps = []op{
	{code: 160, name: "f2xm1", a: k80, approx: true, run: un80(F2XM1)},
	{code: 161, name: "fyl2x", a: k80, b: k80, approx: true, run: bin80(YL2X)},
	{code: 162, name: "fyl2xp1", a: k80, b: k80, approx: true, run: bin80(YL2XP1)},
	{code: 163, name: "fptan", a: k80, two: true, approx: true, run: func(e *Env, q *request) answer {
		t, top, in := Tan(e, f80of(q.A))
		if !in {
			return answer{R0: words(t), R1: q.B, Flags: uint32(C2)}
		}
		return answer{R0: words(top), R1: words(t), Flags: 1}
	}},
	{code: 164, name: "fpatan", a: k80, b: k80, approx: true, run: bin80(Atan)},
	{code: 165, name: "fsin", a: k80, approx: true, run: trig(Sin)},
	{code: 166, name: "fcos", a: k80, approx: true, run: trig(Cos)},
	{code: 167, name: "fsincos", a: k80, two: true, approx: true, run: func(e *Env, q *request) answer {
		s, c, in := SinCos(e, f80of(q.A))
		if !in {
			return answer{R0: words(s), R1: q.B, Flags: uint32(C2)}
		}
		return answer{R0: words(c), R1: words(s), Flags: 1}
	}},
}

var x87ops = []op{
	{code: 100, name: "fadd", a: k80, b: k80, run: bin80(Add80)},
	{code: 101, name: "fsub", a: k80, b: k80, run: bin80(Sub80)},
	{code: 102, name: "fmul", a: k80, b: k80, run: bin80(Mul80)},
	{code: 103, name: "fdiv", a: k80, b: k80, run: bin80(Div80)},
	{code: 104, name: "fsqrt", a: k80, run: un80(Sqrt80)},
	{code: 105, name: "fprem", a: k80, b: k80, run: rem80(false)},
	{code: 106, name: "fprem1", a: k80, b: k80, run: rem80(true)},
	{code: 107, name: "fscale", a: k80, b: k80, run: bin80(Scale80)},
	{code: 108, name: "fxtract", a: k80, two: true, run: func(e *Env, q *request) answer {
		exp, sig := Extract80(e, f80of(q.A))
		return answer{R0: words(sig), R1: words(exp)}
	}},
	{code: 109, name: "frndint", a: k80, run: un80(RoundInt80)},
	{code: 110, name: "fcom", a: k80, b: k80, run: com80(memReg, true)},
	{code: 111, name: "fucom", a: k80, b: k80, run: com80(memReg, false)},
	{code: 112, name: "ftst", a: k80, run: com80(memZero, true)},
	{code: 113, name: "fxam", a: k80, run: func(_ *Env, q *request) answer {
		return answer{R0: q.A, Flags: uint32(Examine(f80of(q.A))) | 1}
	}},
	{code: 114, name: "fcomi", a: k80, b: k80, run: comi80(true)},
	{code: 115, name: "fucomi", a: k80, b: k80, run: comi80(false)},
	{code: 116, name: "fsubr", a: k80, b: k80, run: bin80(rev(Sub80))},
	{code: 117, name: "fdivr", a: k80, b: k80, run: bin80(rev(Div80))},
	{code: 120, name: "fld m32", c: k32, run: push(func(e *Env, q *request) F80 { return From32(e, uint32(q.C[0])) })},
	{code: 121, name: "fld m64", c: k64, run: push(func(e *Env, q *request) F80 { return From64(e, q.C[0]) })},
	{code: 122, name: "fild m16", c: kInt, run: push(memI16)},
	{code: 123, name: "fild m32", c: kInt, run: push(memI32)},
	{code: 124, name: "fild m64", c: kInt, run: push(memI64)},
	{code: 125, name: "fbld", c: kBCD, run: push(func(_ *Env, q *request) F80 { return FromBCD(q.C[0], uint16(q.C[1])) })},
	{code: 126, name: "fadd m32", a: k80, c: k32, run: mem(Add80, mem32)},
	{code: 127, name: "fadd m64", a: k80, c: k64, run: mem(Add80, mem64)},
	{code: 128, name: "fiadd m16", a: k80, c: kInt, run: mem(Add80, memI16)},
	{code: 129, name: "fiadd m32", a: k80, c: kInt, run: mem(Add80, memI32)},
	{code: 130, name: "fcom m32", a: k80, c: k32, run: com80(mem32, true)},
	{code: 131, name: "fcom m64", a: k80, c: k64, run: com80(mem64, true)},
	{code: 132, name: "fmul m32", a: k80, c: k32, run: mem(Mul80, mem32)},
	{code: 133, name: "fdivr m32", a: k80, c: k32, run: mem(rev(Div80), mem32)},
	{code: 134, name: "fdiv m64", a: k80, c: k64, run: mem(Div80, mem64)},
	{code: 135, name: "fsubr m64", a: k80, c: k64, run: mem(rev(Sub80), mem64)},
	{code: 140, name: "fst m32", a: k80, run: func(e *Env, q *request) answer { return res(uint64(To32(e, f80of(q.A)))) }},
	{code: 141, name: "fst m64", a: k80, run: func(e *Env, q *request) answer { return res(To64(e, f80of(q.A))) }},
	{code: 142, name: "fist m16", a: k80, run: fist(16, false)},
	{code: 143, name: "fist m32", a: k80, run: fist(32, false)},
	{code: 144, name: "fistp m64", a: k80, run: fist(64, false)},
	{code: 145, name: "fbstp", a: k80, run: func(e *Env, q *request) answer {
		lo, hi := ToBCD(e, f80of(q.A))
		return answer{R0: [2]uint64{lo, uint64(hi)}}
	}},
	{code: 146, name: "fisttp m16", a: k80, run: fist(16, true)},
	{code: 147, name: "fisttp m32", a: k80, run: fist(32, true)},
	{code: 148, name: "fisttp m64", a: k80, run: fist(64, true)},
	{code: 150, name: "fld1", run: constant(ConstOne)},
	{code: 151, name: "fldl2t", run: constant(ConstL2T)},
	{code: 152, name: "fldl2e", run: constant(ConstL2E)},
	{code: 153, name: "fldpi", run: constant(ConstPi)},
	{code: 154, name: "fldlg2", run: constant(ConstLG2)},
	{code: 155, name: "fldln2", run: constant(ConstLN2)},
	{code: 156, name: "fldz", run: constant(ConstZero)},
}
