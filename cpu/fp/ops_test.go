package fp

import (
	"fmt"
	"math"
	"slices"
)

// request is one operation for testdata/oracle.c.
type request struct {
	Op, Ctl, Imm, Pad uint16
	A, B, C           [2]uint64
}

// answer is what came of it: two results, and MXCSR or FSW.
type answer struct {
	R0, R1        [2]uint64
	Flags, EFlags uint32
}

// request draws a request for o. Masks are all set in most requests.
func (o *op) request(s source) request {
	q := request{Op: o.code, A: s.draw(o.a), B: s.draw(o.b), C: s.draw(o.c)}
	if o.imms > 0 {
		q.Imm = uint16(s.IntN(o.imms))
	}
	masks := uint16(AllExceptions)
	if s.Uint64N(16) == 0 {
		masks = uint16(s.Uint64N(64))
	}
	if o.isX87() {
		q.Ctl = masks | uint16([8]uint8{Prec64, Prec64, Prec64, Prec53, Prec53, Prec24, Prec24, 1}[s.Uint64N(8)])<<8 | uint16(s.Uint64N(4))<<10
	} else {
		q.Ctl = masks<<7 | uint16([8]uint8{Nearest, Nearest, Nearest, Nearest, Nearest, Down, Up, Zero}[s.Uint64N(8)])<<13
		if s.Uint64N(2) == 0 {
			q.Ctl |= uint16(PE) // sticky, and allows the fast path
		}
		if s.Uint64N(4) == 0 {
			q.Ctl |= uint16(s.Uint64N(2))<<6 | uint16(s.Uint64N(2))<<15
		}
	}
	return q
}

func (q *request) String() string {
	return fmt.Sprintf("ctl %04x imm %x a %x b %x c %x", q.Ctl, q.Imm, q.A, q.B, q.C)
}

// op ties an operation of testdata/oracle.c to ours.
type op struct {
	code    uint16
	name    string
	a, b, c kind
	imms    int // number of immediates
	run     func(e *Env, q *request) answer
	two     bool // ST1 is a result too
	approx  bool // results need not be the host's
}

// ops is every operation under test.
var ops = append(append(slices.Clone(sseOps), x87ops...), transOps...)

func (o *op) isX87() bool { return o.code >= 100 }

// answersAMD tells whose answers operations are compared with: those recorded are AMD's.
var answersAMD = true

// env is the environment a request asks for.
func (o *op) env(q *request) Env {
	if o.isX87() {
		e := FromFCW(q.Ctl)
		e.AMD = answersAMD
		return e
	}
	return FromMXCSR(uint32(q.Ctl))
}

// check runs q and describes how the outcome differs from want, or is empty.
func (o *op) check(q *request, want *answer) string {
	e := o.env(q)
	if o.isX87() {
		return o.checkX87(&e, o.run(&e, q), *want)
	}
	before := e.Begin()
	got := o.run(&e, q)
	unmasked := e.End(before)
	wantFlags := uint8(want.Flags) & AllExceptions
	d := ""
	if o.approx && math.Abs(float64(to32(uint32(got.R0[0])))/float64(to32(uint32(want.R0[0])))-1) < 3*0x1p-12 {
		got.R0 = want.R0 // both are within 1.5 * 2^-12
	}
	if e.Flags != wantFlags {
		d = fmt.Sprintf("flags %02x, want %02x; ", e.Flags, wantFlags)
	}
	if unmasked == 0 && (got.R0 != want.R0 || got.EFlags != want.EFlags&0x8d5) {
		d += fmt.Sprintf("result %x %x, want %x %x", got.R0, got.EFlags, want.R0, want.EFlags&0x8d5)
	}
	return d
}

func res(v uint64) answer { return answer{R0: [2]uint64{v}} }

func bin32(fn func(e *Env, a, b uint32) uint32) func(*Env, *request) answer {
	return func(e *Env, q *request) answer {
		return res(uint64(fn(e, uint32(q.A[0]), uint32(q.B[0]))) | q.A[0]>>32<<32)
	}
}

func bin64(fn func(e *Env, a, b uint64) uint64) func(*Env, *request) answer {
	return func(e *Env, q *request) answer { return res(fn(e, q.A[0], q.B[0])) }
}

// eflags is what COMISD sets for a relation [SDM 2 COMISD].
func eflags(r Relation) answer {
	return answer{EFlags: [4]uint32{Less: 1, Equal: 0x40, Unordered: 0x45}[r]}
}

func ones(v bool, mask uint64) uint64 {
	if v {
		return mask
	}
	return 0
}

// packed32 applies fn to four elements.
func packed32(fn func(e *Env, a, b uint32) uint32) func(*Env, *request) answer {
	return func(e *Env, q *request) (r answer) {
		for i := range 4 {
			s := uint(i % 2 * 32)
			v := fn(e, uint32(q.A[i/2]>>s), uint32(q.B[i/2]>>s))
			r.R0[i/2] |= uint64(v) << s
		}
		return r
	}
}

var sseOps = []op{
	{code: 0, name: "addss", a: k32, b: k32, run: bin32(Add32)},
	{code: 1, name: "subss", a: k32, b: k32, run: bin32(Sub32)},
	{code: 2, name: "mulss", a: k32, b: k32, run: bin32(Mul32)},
	{code: 3, name: "divss", a: k32, b: k32, run: bin32(Div32)},
	{code: 4, name: "sqrtss", a: k32, run: func(e *Env, q *request) answer { return res(uint64(Sqrt32(e, uint32(q.A[0])))) }},
	{code: 5, name: "minss", a: k32, b: k32, run: bin32(Min32)},
	{code: 6, name: "maxss", a: k32, b: k32, run: bin32(Max32)},
	{code: 10, name: "addsd", a: k64, b: k64, run: bin64(Add64)},
	{code: 11, name: "subsd", a: k64, b: k64, run: bin64(Sub64)},
	{code: 12, name: "mulsd", a: k64, b: k64, run: bin64(Mul64)},
	{code: 13, name: "divsd", a: k64, b: k64, run: bin64(Div64)},
	{code: 14, name: "sqrtsd", a: k64, run: func(e *Env, q *request) answer { return res(Sqrt64(e, q.A[0])) }},
	{code: 15, name: "minsd", a: k64, b: k64, run: bin64(Min64)},
	{code: 16, name: "maxsd", a: k64, b: k64, run: bin64(Max64)},
	{code: 20, name: "cvtss2sd", a: k32, run: func(e *Env, q *request) answer { return res(F32To64(e, uint32(q.A[0]))) }},
	{code: 21, name: "cvtsd2ss", a: k64, run: func(e *Env, q *request) answer { return res(uint64(F64To32(e, q.A[0]))) }},
	{code: 22, name: "cvtsi2ss l", a: kInt, run: func(e *Env, q *request) answer { return res(uint64(I64ToF32(e, int64(int32(q.A[0]))))) }},
	{code: 23, name: "cvtsi2ss q", a: kInt, run: func(e *Env, q *request) answer { return res(uint64(I64ToF32(e, int64(q.A[0])))) }},
	{code: 24, name: "cvtsi2sd l", a: kInt, run: func(e *Env, q *request) answer { return res(I64ToF64(e, int64(int32(q.A[0])))) }},
	{code: 25, name: "cvtsi2sd q", a: kInt, run: func(e *Env, q *request) answer { return res(I64ToF64(e, int64(q.A[0]))) }},
	{code: 26, name: "cvtss2si l", a: k32, run: func(e *Env, q *request) answer { return res(uint64(uint32(F32ToI32(e, uint32(q.A[0]), e.Round)))) }},
	{code: 27, name: "cvtss2si q", a: k32, run: func(e *Env, q *request) answer { return res(uint64(F32ToI64(e, uint32(q.A[0]), e.Round))) }},
	{code: 28, name: "cvtsd2si l", a: k64, run: func(e *Env, q *request) answer { return res(uint64(uint32(F64ToI32(e, q.A[0], e.Round)))) }},
	{code: 29, name: "cvtsd2si q", a: k64, run: func(e *Env, q *request) answer { return res(uint64(F64ToI64(e, q.A[0], e.Round))) }},
	{code: 30, name: "cvttss2si l", a: k32, run: func(e *Env, q *request) answer { return res(uint64(uint32(F32ToI32(e, uint32(q.A[0]), Zero)))) }},
	{code: 31, name: "cvttss2si q", a: k32, run: func(e *Env, q *request) answer { return res(uint64(F32ToI64(e, uint32(q.A[0]), Zero))) }},
	{code: 32, name: "cvttsd2si l", a: k64, run: func(e *Env, q *request) answer { return res(uint64(uint32(F64ToI32(e, q.A[0], Zero)))) }},
	{code: 33, name: "cvttsd2si q", a: k64, run: func(e *Env, q *request) answer { return res(uint64(F64ToI64(e, q.A[0], Zero))) }},
	{code: 34, name: "comiss", a: k32, b: k32, run: func(e *Env, q *request) answer { return eflags(Compare32(e, uint32(q.A[0]), uint32(q.B[0]), true)) }},
	{code: 35, name: "ucomiss", a: k32, b: k32, run: func(e *Env, q *request) answer { return eflags(Compare32(e, uint32(q.A[0]), uint32(q.B[0]), false)) }},
	{code: 36, name: "comisd", a: k64, b: k64, run: func(e *Env, q *request) answer { return eflags(Compare64(e, q.A[0], q.B[0], true)) }},
	{code: 37, name: "ucomisd", a: k64, b: k64, run: func(e *Env, q *request) answer { return eflags(Compare64(e, q.A[0], q.B[0], false)) }},
	{code: 40, name: "cmpss", a: k32, b: k32, imms: 32, run: func(e *Env, q *request) answer {
		return res(ones(Predicate32(e, uint32(q.A[0]), uint32(q.B[0]), uint8(q.Imm)), 1<<32-1))
	}},
	{code: 41, name: "cmpsd", a: k64, b: k64, imms: 32, run: func(e *Env, q *request) answer {
		return res(ones(Predicate64(e, q.A[0], q.B[0], uint8(q.Imm)), 1<<64-1))
	}},
	{code: 42, name: "roundss", a: k32, imms: 16, run: func(e *Env, q *request) answer { return res(uint64(Round32(e, uint32(q.A[0]), uint8(q.Imm)))) }},
	{code: 43, name: "roundsd", a: k64, imms: 16, run: func(e *Env, q *request) answer { return res(Round64(e, q.A[0], uint8(q.Imm))) }},
	{code: 44, name: "vcvtps2ph", a: k32, imms: 8, run: func(e *Env, q *request) answer { return res(uint64(F32To16(e, uint32(q.A[0]), uint8(q.Imm)))) }},
	{code: 45, name: "vcvtph2ps", a: k16, run: func(e *Env, q *request) answer { return res(uint64(F16To32(e, uint16(q.A[0])))) }},
	{code: 50, name: "vfmadd213ss", a: k32, b: k32, c: k32, run: func(e *Env, q *request) answer {
		return res(uint64(FMA32(e, uint32(q.B[0]), uint32(q.A[0]), uint32(q.C[0]), 0)))
	}},
	{code: 51, name: "vfmadd213sd", a: k64, b: k64, c: k64, run: func(e *Env, q *request) answer { return res(FMA64(e, q.B[0], q.A[0], q.C[0], 0)) }},
	{code: 52, name: "vfmadd132sd", a: k64, b: k64, c: k64, run: func(e *Env, q *request) answer { return res(FMA64(e, q.A[0], q.B[0], q.C[0], 0)) }},
	{code: 53, name: "vfmadd231sd", a: k64, b: k64, c: k64, run: func(e *Env, q *request) answer { return res(FMA64(e, q.B[0], q.C[0], q.A[0], 0)) }},
	{code: 54, name: "vfnmsub213sd", a: k64, b: k64, c: k64, run: func(e *Env, q *request) answer {
		return res(FMA64(e, q.B[0], q.A[0], q.C[0], NegProduct|NegAddend))
	}},
	{code: 58, name: "rcpss", a: k32, approx: true, run: func(_ *Env, q *request) answer { return res(uint64(Rcp32(uint32(q.A[0])))) }},
	{code: 59, name: "rsqrtss", a: k32, approx: true, run: func(_ *Env, q *request) answer { return res(uint64(Rsqrt32(uint32(q.A[0])))) }},
	{code: 55, name: "addps", a: kPacked32, b: kPacked32, run: packed32(Add32)},
	{code: 56, name: "divps", a: kPacked32, b: kPacked32, run: packed32(Div32)},
	{code: 57, name: "mulps", a: kPacked32, b: kPacked32, run: packed32(Mul32)},
}
