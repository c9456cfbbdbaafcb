package cpu

import "godwit/cpu/isa"

func init() {
	for op, f := range map[isa.Op]lowering{
		isa.PAND: lowerVec(opVAndrr), isa.ANDPS: lowerVec(opVAndrr), isa.ANDPD: lowerVec(opVAndrr),
		isa.PANDN: lowerVec(opVAndnrr), isa.ANDNPS: lowerVec(opVAndnrr), isa.ANDNPD: lowerVec(opVAndnrr),
		isa.POR: lowerVec(opVOrrr), isa.ORPS: lowerVec(opVOrrr), isa.ORPD: lowerVec(opVOrrr),
		isa.PXOR: lowerVec(opVXorrr), isa.XORPS: lowerVec(opVXorrr), isa.XORPD: lowerVec(opVXorrr),
		isa.PADDB: lowerVec(opVAdd8rr), isa.PADDW: lowerVec(opVAdd16rr), isa.PADDD: lowerVec(opVAdd32rr), isa.PADDQ: lowerVec(opVAdd64rr),
		isa.PSUBB: lowerVec(opVSub8rr), isa.PSUBW: lowerVec(opVSub16rr), isa.PSUBD: lowerVec(opVSub32rr), isa.PSUBQ: lowerVec(opVSub64rr),

		isa.MOVAPS: lowerVecMove(opVmovarm), isa.MOVAPD: lowerVecMove(opVmovarm), isa.MOVDQA: lowerVecMove(opVmovarm),
		isa.MOVUPS: lowerVecMove(opVmovurm), isa.MOVUPD: lowerVecMove(opVmovurm), isa.MOVDQU: lowerVecMove(opVmovurm),
		isa.MOVSS: lowerScalarMove(opVmov32rr), isa.MOVSD: lowerScalarMove(opVmov64rr),
		isa.MOVD: lowerMovd, isa.MOVQ: lowerMovd,
		isa.MOVLPS: lowerHalf(opVhalf0rm), isa.MOVLPD: lowerHalf(opVhalf0rm), isa.MOVHPS: lowerHalf(opVhalf1rm), isa.MOVHPD: lowerHalf(opVhalf1rm),

		isa.ADDSD: lowerVec(opFAdd64rr), isa.SUBSD: lowerVec(opFSub64rr), isa.MULSD: lowerVec(opFMul64rr), isa.DIVSD: lowerVec(opFDiv64rr),
		isa.ADDSS: lowerVec(opFAdd32rr), isa.SUBSS: lowerVec(opFSub32rr), isa.MULSS: lowerVec(opFMul32rr), isa.DIVSS: lowerVec(opFDiv32rr),
		isa.ADDPD: lowerVec(opFAdd64x2rr), isa.SUBPD: lowerVec(opFSub64x2rr), isa.MULPD: lowerVec(opFMul64x2rr), isa.DIVPD: lowerVec(opFDiv64x2rr),
		isa.SQRTSD: lowerVec(opFSqrt64rr), isa.SQRTSS: lowerVec(opFSqrt32rr),
		isa.MINSD: lowerVec(opFMin64rr), isa.MAXSD: lowerVec(opFMax64rr), isa.MINSS: lowerVec(opFMin32rr), isa.MAXSS: lowerVec(opFMax32rr),
		isa.COMISD: lowerVec(opFCom64rr), isa.UCOMISD: lowerVec(opFCom64rr), isa.COMISS: lowerVec(opFCom32rr), isa.UCOMISS: lowerVec(opFCom32rr),
		isa.CVTSI2SD: lowerFromInt, isa.CVTTSD2SI: lowerTrunc,
	} {
		lowerings[op] = f
	}
}

// lowering gives a vector instruction that has no ops of its own one that calls
// its function.
func (v vec) lowering() lowering {
	switch {
	case v.q != nil:
		return lowerVec(opVqrr)
	case v.x != nil:
		return lowerVec(opVxrr)
	case v.shift != nil:
		return lowerVecShift
	}
	return nil
}

// vec resolves the operands of an instruction on XMM registers, whose handler
// stays at hand.
func (l *lowerer) vec(in *isa.Inst, o *op) (memory, ok bool) {
	if isMMX(in) {
		return false, false
	}
	o.dst, o.src, o.n = in.Reg, in.RM, uint8(in.Imm)
	memory = in.Flags&isa.FlagMem != 0
	if memory && !l.mem(in, o) {
		return true, false
	}
	o.imm = l.inst(in)
	return memory, true
}

// lowerVec: the code for registers, then the one for a memory operand, which is
// as large as the op has it.
func lowerVec(code uint16) lowering {
	return func(l *lowerer, in *isa.Inst) bool {
		var o op
		memory, ok := l.vec(in, &o)
		if !ok || memory && code == opVxrr && in.ArgSize(1) != 16 {
			return false
		}
		o.code = code + uint16(b2u(memory))
		l.put(in, o)
		return true
	}
}

func lowerVecShift(l *lowerer, in *isa.Inst) bool {
	var o op
	if isa.Rows[in.Row].Args[1] != isa.ArgImm {
		return false
	}
	if _, ok := l.vec(in, &o); !ok {
		return false
	}
	o.code, o.dst = opVshift, in.RM
	l.put(in, o)
	return true
}

// loads tells whether a move's destination is the register.
func loads(in *isa.Inst) bool { return isa.Rows[in.Row].Args[0] == isa.ArgXReg }

// lowerVecMove: the code for loads, then that for stores.
func lowerVecMove(code uint16) lowering {
	return func(l *lowerer, in *isa.Inst) bool {
		var o op
		memory, ok := l.vec(in, &o)
		switch {
		case !ok:
			return false
		case memory:
			o.code = code + uint16(b2u(!loads(in)))
		default:
			o.code = opVmovrr
			if !loads(in) {
				o.dst, o.src = o.src, o.dst
			}
		}
		l.put(in, o)
		return true
	}
}

// lowerScalarMove: the codes for registers, loads and stores.
func lowerScalarMove(code uint16) lowering {
	return func(l *lowerer, in *isa.Inst) bool {
		var o op
		memory, ok := l.vec(in, &o)
		switch {
		case !ok:
			return false
		case memory:
			o.code = code + 1 + uint16(b2u(!loads(in)))
		default:
			o.code = code
			if !loads(in) {
				o.dst, o.src = o.src, o.dst
			}
		}
		l.put(in, o)
		return true
	}
}

// lowerMovd is MOVD and MOVQ: between XMM registers, general registers and
// memory.
func lowerMovd(l *lowerer, in *isa.Inst) bool {
	var o op
	load := loads(in)
	arg := int(b2u(load)) // the operand that is not the register of ModRM.reg
	size := in.ArgSize(arg)
	vector := isa.Rows[in.Row].Args[arg] == isa.ArgXRM
	if size == 16 {
		size = 8
	}
	memory, ok := l.vec(in, &o)
	if !ok {
		return false
	}
	wide := size == 8
	switch {
	case memory:
		o.code = [2][2]uint16{{opVmov32mr, opVmov32rm}, {opVmov64mr, opVmov64rm}}[b2u(wide)][b2u(load)]
	case vector:
		o.code = opVmovqrr
		if !load {
			o.dst, o.src = o.src, o.dst
		}
	default:
		o.code = [2][2]uint16{{opVtoR32, opVfromR32}, {opVtoR64, opVfromR64}}[b2u(wide)][b2u(load)]
	}
	l.put(in, o)
	return true
}

// lowerHalf: the code for loads, then that for stores.
func lowerHalf(code uint16) lowering {
	return func(l *lowerer, in *isa.Inst) bool {
		var o op
		memory, ok := l.vec(in, &o)
		if !ok || !memory {
			return false
		}
		o.code = code + uint16(b2u(!loads(in)))
		l.put(in, o)
		return true
	}
}

func lowerFromInt(l *lowerer, in *isa.Inst) bool {
	var o op
	memory, ok := l.vec(in, &o)
	if !ok {
		return false
	}
	o.code = [2][2]uint16{{opFInt32rr, opFInt32rm}, {opFInt64rr, opFInt64rm}}[b2u(in.ArgSize(1) == 8)][b2u(memory)]
	l.put(in, o)
	return true
}

func lowerTrunc(l *lowerer, in *isa.Inst) bool {
	var o op
	memory, ok := l.vec(in, &o)
	if !ok {
		return false
	}
	o.code = [2][2]uint16{{opFTrunc32rr, opFTrunc32rm}, {opFTrunc64rr, opFTrunc64rm}}[b2u(in.ArgSize(0) == 8)][b2u(memory)]
	l.put(in, o)
	return true
}
