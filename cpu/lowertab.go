package cpu

import "godwit/cpu/isa"

// lowering appends the op for an instruction; false leaves it to its handler.
type lowering func(l *lowerer, in *isa.Inst) bool

// lowerings are the operations that have ops of their own.
var lowerings [isa.NumOps]lowering

func init() {
	for op, f := range map[isa.Op]lowering{
		isa.ADD: lowerALU(0), isa.OR: lowerALU(1), isa.ADC: lowerALU(2), isa.SBB: lowerALU(3),
		isa.AND: lowerALU(4), isa.SUB: lowerALU(5), isa.XOR: lowerALU(6),
		isa.CMP: lowerCmp, isa.TEST: lowerTest,
		isa.INC: lowerUnary(opInc8r), isa.DEC: lowerUnary(opDec8r),
		isa.NEG: lowerUnary(opNeg8r), isa.NOT: lowerUnary(opNot8r),
		isa.SHL: lowerShift(opShl32ri, opShl64ri), isa.SHR: lowerShift(opShr32ri, opShr64ri),
		isa.SAR: lowerShift(opSar32ri, opSar64ri),
		isa.ROL: lowerRotate(opRol32ri, opRol64ri), isa.ROR: lowerRotate(opRor32ri, opRor64ri),
		isa.MOV: lowerMov, isa.MOVZX: lowerMovzx, isa.MOVSX: lowerMovsx, isa.MOVSXD: lowerMovsx,
		isa.LEA: lowerLea, isa.XCHG: lowerXchg, isa.CMOVCC: lowerCmov, isa.SETCC: lowerSetcc,
		isa.CBW: lowerAcc(opCbw32, opCbw64, RAX), isa.CWD: lowerAcc(opCwd32, opCwd64, RDX), isa.BSWAP: lowerBswap,
		isa.IMUL: lowerImul, isa.MUL: lowerMul, isa.BT: lowerBt,
		isa.NOP: lowerNop, isa.ENDBR64: lowerNop, isa.ENDBR32: lowerNop,
		isa.JMP: lowerJmp, isa.JCC: lowerJcc, isa.CALL: lowerCall, isa.RET: lowerRet,
		isa.PUSH: lowerPush, isa.POP: lowerPop, isa.LEAVE: lowerLeave,
	} {
		lowerings[op] = f
	}
}

func lowerALU(n int) lowering {
	return func(l *lowerer, in *isa.Inst) bool {
		var o op
		s, ok := l.binary(in, &o)
		w, sized := width(in.ArgSize(0))
		if !ok || !sized {
			return false
		}
		o.code = uint16(opAdd8rr + ((n*3+w)*5+s)*2)
		l.put(in, o)
		return true
	}
}

func lowerCmp(l *lowerer, in *isa.Inst) bool {
	var o op
	s, ok := l.binary(in, &o)
	w, sized := width(in.ArgSize(0))
	if !ok || !sized {
		return false
	}
	o.code = uint16(opCmp8rr + w*5 + s)
	l.put(in, o)
	return true
}

// testShape orders TEST's shapes: it has no register-memory form.
var testShape = [...]int{shapeRR: 0, shapeRI: 1, shapeMR: 2, shapeMI: 3}

func lowerTest(l *lowerer, in *isa.Inst) bool {
	var o op
	s, ok := l.binary(in, &o)
	w, sized := width(in.ArgSize(0))
	if !ok || !sized || s == shapeRM {
		return false
	}
	o.code = uint16(opTest8rr + w*4 + testShape[s])
	l.put(in, o)
	return true
}

// lowerUnary: the codes run over widths, then register and memory; see unaryCode.
func lowerUnary(first int) lowering {
	return func(l *lowerer, in *isa.Inst) bool {
		w, sized := width(in.ArgSize(0))
		if !sized {
			return false
		}
		var o op
		n, isReg := l.regArg(in, 0)
		s := 0
		if !isReg {
			if in.Flags&isa.FlagMem == 0 || !l.mem(in, &o) {
				return false
			}
			s = 1
		}
		o.dst = n
		o.code = uint16(unaryCode(first, w, s))
		l.put(in, o)
		return true
	}
}

// unaryCode: per width and shape the generator emits Inc, IncN, Dec, DecN, Neg,
// NegN, Not.
func unaryCode(first, w, s int) int { return first + (w*2+s)*7 }

func lowerShift(code32, code64 uint16) lowering {
	return func(l *lowerer, in *isa.Inst) bool {
		n, isReg := l.regArg(in, 0)
		size := in.ArgSize(0)
		if !isReg || size < 4 {
			return false
		}
		o := op{code: code32, dst: n}
		if size == 8 {
			o.code = code64
		}
		switch isa.Rows[in.Row].Args[1] {
		case isa.ArgCL:
			o.code += 2 // after ri and riN
		case isa.ArgOne:
			o.imm = 1
		default:
			o.imm = int32(shiftCount(in.Imm, size))
			if o.imm == 0 {
				return false
			}
		}
		l.put(in, o)
		return true
	}
}

func lowerRotate(code32, code64 uint16) lowering {
	return func(l *lowerer, in *isa.Inst) bool {
		if isa.Rows[in.Row].Args[1] == isa.ArgCL {
			return false
		}
		if !l.c.amd && isa.Rows[in.Row].Args[1] != isa.ArgOne && shiftCount(in.Imm, in.ArgSize(0)) > 1 {
			return lowerShift(code32+(opIntelRol32ri-opRol32ri), code64+(opIntelRol64ri-opRol64ri))(l, in)
		}
		return lowerShift(code32, code64)(l, in)
	}
}

func lowerMov(l *lowerer, in *isa.Inst) bool {
	r := &isa.Rows[in.Row]
	size := in.ArgSize(0)
	k := sizeCode(size)
	var o op
	if dst, ok := l.regArg(in, 0); ok && r.Args[1] == isa.ArgImm {
		o.dst = dst
		switch size {
		case 1, 2:
			o.code, o.imm = [...]uint16{opMov8ri, opMov16ri}[k], int32(in.Imm)
		default:
			v := in.Imm & sizeMask(size)
			o.code, o.imm, o.disp = opMovri, int32(v), int32(v>>32)
		}
		l.put(in, o)
		return true
	}
	s, ok := l.binary(in, &o)
	if !ok || s == shapeRI {
		return false
	}
	o.code = uint16(opMov8rr) + uint16(k)*4 + [...]uint16{shapeRR: 0, shapeRM: 1, shapeMR: 2, shapeMI: 3}[s]
	l.put(in, o)
	return true
}

// extend resolves the operands of MOVZX and MOVSX.
func (l *lowerer) extend(in *isa.Inst, o *op) (memory, ok bool) {
	o.dst = in.Reg
	if in.Flags&isa.FlagMem != 0 {
		return true, l.mem(in, o)
	}
	o.src = in.RM
	return false, low(in, in.RM, in.ArgSize(1))
}

func lowerMovzx(l *lowerer, in *isa.Inst) bool {
	var o op
	memory, ok := l.extend(in, &o)
	if !ok || in.ArgSize(0) == 2 {
		return false
	}
	o.code = [2][2]uint16{{opMovzx8rr, opMovzx8rm}, {opMovzx16rr, opMovzx16rm}}[in.ArgSize(1)-1][b2u(memory)]
	l.put(in, o)
	return true
}

func lowerMovsx(l *lowerer, in *isa.Inst) bool {
	var o op
	memory, ok := l.extend(in, &o)
	to, from := in.ArgSize(0), in.ArgSize(1)
	if !ok || to == 2 || from >= to {
		return false
	}
	i := 2*int(sizeCode(from)) + int(sizeCode(to)) - 2
	o.code = [...]uint16{opMovsx8to32rr, opMovsx8to64rr, opMovsx16to32rr, opMovsx16to64rr, 0, opMovsx32to64rr}[i] + uint16(b2u(memory))
	l.put(in, o)
	return true
}

// lowerLea ignores the segment, which LEA does.
func lowerLea(l *lowerer, in *isa.Inst) bool {
	flat := *in
	flat.Seg = isa.DS
	o := op{code: opLea64, dst: in.Reg}
	switch {
	case in.OpSize == 2:
		return false
	case l.flat && in.AddrSize == 4:
		o.base, o.index, o.scale, o.disp = in.Base, in.Index, in.Scale, in.Disp
	case l.flat || !l.mem(&flat, &o):
		return false
	}
	if in.OpSize == 4 {
		o.code = opLea32
	}
	l.put(in, o)
	return true
}

func lowerXchg(l *lowerer, in *isa.Inst) bool {
	var o op
	s, ok := l.binary(in, &o)
	size := in.ArgSize(0)
	if !ok || size < 4 {
		return false
	}
	switch s {
	case shapeRR:
		o.code = opXchg32rr
	case shapeMR:
		o.code = opXchg32mr
	case shapeRM:
		o.code, o.src = opXchg32mr, o.dst
	default:
		return false
	}
	if size == 8 {
		o.code += opXchg64rr - opXchg32rr
	}
	l.put(in, o)
	return true
}

// lowerCmov keeps the condition in scale, which register forms do not use.
func lowerCmov(l *lowerer, in *isa.Inst) bool {
	if in.Flags&isa.FlagMem != 0 || in.OpSize == 2 {
		return false
	}
	o := op{code: opCmov32rr, dst: in.Reg, src: in.RM, scale: in.Cond}
	if in.OpSize == 8 {
		o.code = opCmov64rr
	}
	l.put(in, o)
	return true
}

func lowerSetcc(l *lowerer, in *isa.Inst) bool {
	n, ok := l.regArg(in, 0)
	if ok {
		l.put(in, op{code: opSetcc, dst: n, scale: in.Cond})
	}
	return ok
}

func lowerAcc(code32, code64 uint16, dst uint8) lowering {
	return func(l *lowerer, in *isa.Inst) bool {
		o := op{code: code32, dst: dst}
		if in.OpSize == 8 {
			o.code = code64
		}
		if in.OpSize != 2 {
			l.put(in, o)
		}
		return in.OpSize != 2
	}
}

func lowerBswap(l *lowerer, in *isa.Inst) bool {
	return lowerAcc(opBswap32, opBswap64, in.Reg)(l, in)
}

func lowerImul(l *lowerer, in *isa.Inst) bool {
	args := &isa.Rows[in.Row].Args
	if args[1] == isa.ArgNone || in.OpSize == 2 {
		return false
	}
	o := op{dst: in.Reg, src: in.RM}
	code := opImul32rr
	switch memory := in.Flags&isa.FlagMem != 0; {
	case args[2] != isa.ArgNone && memory:
		return false
	case args[2] != isa.ArgNone:
		code, o.imm = opImul32rri, int32(in.Imm)
	case memory:
		code = opImul32rm
		if !l.mem(in, &o) {
			return false
		}
	}
	if in.OpSize == 8 {
		code += opImul64rr - opImul32rr
	}
	o.code = uint16(code)
	l.put(in, o)
	l.product(in, in.Reg)
	return true
}

func lowerMul(l *lowerer, in *isa.Inst) bool {
	size := in.ArgSize(0)
	if in.Flags&isa.FlagMem != 0 || size < 4 {
		return false
	}
	o := op{code: opMul32r, dst: RAX, src: in.RM}
	if size == 8 {
		o.code = opMul64r
	}
	l.put(in, o)
	l.product(in, RAX)
	return true
}

// product appends the op that completes the flags of a multiplication into dst
// as Intel's processors do.
func (l *lowerer) product(in *isa.Inst, dst uint8) {
	o := op{code: opProduct32, dst: dst}
	if in.OpSize == 8 {
		o.code = opProduct64
	}
	if !l.c.amd {
		l.put(in, o)
	}
}

func lowerBt(l *lowerer, in *isa.Inst) bool {
	var o op
	s, ok := l.binary(in, &o)
	size := in.ArgSize(0)
	if !ok || size < 4 || s == shapeMR || s == shapeRM {
		return false
	}
	o.code = opBt32rr + [...]uint16{shapeRR: 0, shapeRI: 1, shapeMI: 2}[s]
	if size == 8 {
		o.code += opBt64rr - opBt32rr
	}
	l.put(in, o)
	return true
}

// lowerNop needs no op: the instruction is only counted.
func lowerNop(_ *lowerer, in *isa.Inst) bool { return in.Flags&isa.FlagMem == 0 || in.Op == isa.NOP }
