package fp

import "fmt"

// op ties an operation of testdata/oracle.c to ours.
type op struct {
	code    uint16
	name    string
	a, b, c kind
	imms    int // number of immediates
	run     func(e *Env, q *request) answer
}

func (o *op) isX87() bool { return o.code >= 100 }

// env is the environment a request asks for.
func (o *op) env(q *request) Env {
	if o.isX87() {
		return FromFCW(q.Ctl)
	}
	return FromMXCSR(uint32(q.Ctl))
}

// check runs q and describes how the outcome differs from want, or is empty.
func (o *op) check(q *request, want *answer) string {
	e := o.env(q)
	got := o.run(&e, q)
	if o.isX87() {
		return o.checkX87(&e, got, *want)
	}
	wantFlags := uint8(want.Flags) & AllExceptions
	d := ""
	if e.Flags != wantFlags {
		d = fmt.Sprintf("flags %02x, want %02x; ", e.Flags, wantFlags)
	}
	if e.Unmasked() == 0 && (got.R0 != want.R0 || got.EFlags != want.EFlags&0x8d5) {
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
		var pre, all uint8
		for i := range 4 {
			s := uint(i % 2 * 32)
			el := *e
			v := fn(&el, uint32(q.A[i/2]>>s), uint32(q.B[i/2]>>s))
			r.R0[i/2] |= uint64(v) << s
			all |= el.Flags
			pre |= el.Flags & (IE | DE | ZE)
		}
		e.Flags |= all
		if pre&^e.Masks != 0 {
			e.Flags = e.Flags&^all | pre
		}
		return r
	}
}

var ops = []op{
	{0, "addss", k32, k32, none, 0, bin32(Add32)},
	{1, "subss", k32, k32, none, 0, bin32(Sub32)},
	{2, "mulss", k32, k32, none, 0, bin32(Mul32)},
	{3, "divss", k32, k32, none, 0, bin32(Div32)},
	{4, "sqrtss", k32, none, none, 0, func(e *Env, q *request) answer { return res(uint64(Sqrt32(e, uint32(q.A[0])))) }},
	{5, "minss", k32, k32, none, 0, bin32(Min32)},
	{6, "maxss", k32, k32, none, 0, bin32(Max32)},
	{10, "addsd", k64, k64, none, 0, bin64(Add64)},
	{11, "subsd", k64, k64, none, 0, bin64(Sub64)},
	{12, "mulsd", k64, k64, none, 0, bin64(Mul64)},
	{13, "divsd", k64, k64, none, 0, bin64(Div64)},
	{14, "sqrtsd", k64, none, none, 0, func(e *Env, q *request) answer { return res(Sqrt64(e, q.A[0])) }},
	{15, "minsd", k64, k64, none, 0, bin64(Min64)},
	{16, "maxsd", k64, k64, none, 0, bin64(Max64)},
	{20, "cvtss2sd", k32, none, none, 0, func(e *Env, q *request) answer { return res(F32To64(e, uint32(q.A[0]))) }},
	{21, "cvtsd2ss", k64, none, none, 0, func(e *Env, q *request) answer { return res(uint64(F64To32(e, q.A[0]))) }},
	{22, "cvtsi2ss l", kInt, none, none, 0, func(e *Env, q *request) answer { return res(uint64(I64ToF32(e, int64(int32(q.A[0]))))) }},
	{23, "cvtsi2ss q", kInt, none, none, 0, func(e *Env, q *request) answer { return res(uint64(I64ToF32(e, int64(q.A[0])))) }},
	{24, "cvtsi2sd l", kInt, none, none, 0, func(e *Env, q *request) answer { return res(I64ToF64(e, int64(int32(q.A[0])))) }},
	{25, "cvtsi2sd q", kInt, none, none, 0, func(e *Env, q *request) answer { return res(I64ToF64(e, int64(q.A[0]))) }},
	{26, "cvtss2si l", k32, none, none, 0, func(e *Env, q *request) answer { return res(uint64(uint32(F32ToI32(e, uint32(q.A[0]), e.Round)))) }},
	{27, "cvtss2si q", k32, none, none, 0, func(e *Env, q *request) answer { return res(uint64(F32ToI64(e, uint32(q.A[0]), e.Round))) }},
	{28, "cvtsd2si l", k64, none, none, 0, func(e *Env, q *request) answer { return res(uint64(uint32(F64ToI32(e, q.A[0], e.Round)))) }},
	{29, "cvtsd2si q", k64, none, none, 0, func(e *Env, q *request) answer { return res(uint64(F64ToI64(e, q.A[0], e.Round))) }},
	{30, "cvttss2si l", k32, none, none, 0, func(e *Env, q *request) answer { return res(uint64(uint32(F32ToI32(e, uint32(q.A[0]), Zero)))) }},
	{31, "cvttss2si q", k32, none, none, 0, func(e *Env, q *request) answer { return res(uint64(F32ToI64(e, uint32(q.A[0]), Zero))) }},
	{32, "cvttsd2si l", k64, none, none, 0, func(e *Env, q *request) answer { return res(uint64(uint32(F64ToI32(e, q.A[0], Zero)))) }},
	{33, "cvttsd2si q", k64, none, none, 0, func(e *Env, q *request) answer { return res(uint64(F64ToI64(e, q.A[0], Zero))) }},
	{34, "comiss", k32, k32, none, 0, func(e *Env, q *request) answer { return eflags(Compare32(e, uint32(q.A[0]), uint32(q.B[0]), true)) }},
	{35, "ucomiss", k32, k32, none, 0, func(e *Env, q *request) answer { return eflags(Compare32(e, uint32(q.A[0]), uint32(q.B[0]), false)) }},
	{36, "comisd", k64, k64, none, 0, func(e *Env, q *request) answer { return eflags(Compare64(e, q.A[0], q.B[0], true)) }},
	{37, "ucomisd", k64, k64, none, 0, func(e *Env, q *request) answer { return eflags(Compare64(e, q.A[0], q.B[0], false)) }},
	{40, "cmpss", k32, k32, none, 32, func(e *Env, q *request) answer {
		return res(ones(Predicate32(e, uint32(q.A[0]), uint32(q.B[0]), uint8(q.Imm)), 1<<32-1))
	}},
	{41, "cmpsd", k64, k64, none, 32, func(e *Env, q *request) answer {
		return res(ones(Predicate64(e, q.A[0], q.B[0], uint8(q.Imm)), 1<<64-1))
	}},
	{42, "roundss", k32, none, none, 16, func(e *Env, q *request) answer { return res(uint64(Round32(e, uint32(q.A[0]), uint8(q.Imm)))) }},
	{43, "roundsd", k64, none, none, 16, func(e *Env, q *request) answer { return res(Round64(e, q.A[0], uint8(q.Imm))) }},
	{55, "addps", kPacked32, kPacked32, none, 0, packed32(Add32)},
	{56, "divps", kPacked32, kPacked32, none, 0, packed32(Div32)},
	{57, "mulps", kPacked32, kPacked32, none, 0, packed32(Mul32)},
}
