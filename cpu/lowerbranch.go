package cpu

import "godwit/cpu/isa"

// branchTo ends the block with a branch to the instruction's relative target.
func (l *lowerer) branchTo(in *isa.Inst) bool {
	next := int64(l.pos) + int64(in.Len)
	t := next + int64(in.Imm)
	if !l.flat && l.mode != isa.Mode64 || in.OpSize == 2 || int64(int32(t)) != t {
		return false
	}
	l.exit = [2]int32{int32(next), int32(t)}
	l.done, l.exits = true, true
	return true
}

func lowerJmp(l *lowerer, in *isa.Inst) bool {
	if isa.Rows[in.Row].Args[0] == isa.ArgRel {
		if !l.branchTo(in) {
			return false
		}
		l.put(in, op{code: opJmp})
		return true
	}
	return l.indirect(in, l.pick(opJmpr, opJmpr32), l.pick(opJmpm, opJmpm32))
}

// pick is the op code for the mode.
func (l *lowerer) pick(long, flat uint16) uint16 {
	if l.flat {
		return flat
	}
	return long
}

// near tells whether the instruction has the mode's own operand size, in a mode
// in which branches and the stack have ops.
func (l *lowerer) near(in *isa.Inst) bool {
	return l.mode == isa.Mode64 && in.OpSize == 8 || l.flat && in.OpSize == 4
}

// indirect lowers a near branch through a register or memory.
func (l *lowerer) indirect(in *isa.Inst, reg, memory uint16) bool {
	if !l.near(in) {
		return false
	}
	next := int32(l.pos) + int32(in.Len)
	o := op{code: reg, dst: in.RM, imm: next}
	if in.Flags&isa.FlagMem != 0 {
		o.code = memory
		if !l.mem(in, &o) {
			return false
		}
	}
	l.put(in, o)
	l.done, l.exits = true, true
	return true
}

// fusedCond is the position of a condition among the fused op codes.
var fusedCond = [16]int8{-1, -1, 0, 1, 2, 3, 4, 5, 6, 7, -1, -1, 8, 9, 10, 11}

// lowerJcc fuses with a comparison just before it.
func lowerJcc(l *lowerer, in *isa.Inst) bool {
	if !l.branchTo(in) {
		return false
	}
	if p := l.prev(); p != nil {
		if code, ok := fused(p.code, int(fusedCond[in.Cond])); ok {
			p.code = code
			return true
		}
	}
	o := op{code: opJcc, scale: in.Cond}
	switch in.Cond {
	case 4:
		o.code = opJccZ
	case 5:
		o.code = opJccNZ
	}
	l.put(in, o)
	return true
}

// fused is the op code of a comparison with condition cond behind it.
func fused(code uint16, cond int) (uint16, bool) {
	c := int(code)
	switch {
	case cond < 0:
		return 0, false
	case c >= opCmp8rr && c < opCmp8rr+15:
		return uint16(opCmp8rrJ2 + (c-opCmp8rr)*12 + cond), true
	case c >= opTest8rr && c < opTest8rr+12:
		w, s := (c-opTest8rr)/4, (c-opTest8rr)%4
		if s == 2 { // memory with register: not fused
			return 0, false
		}
		return uint16(opTest8rrJ2 + (w*3+min(s, 2))*12 + cond), true
	}
	return 0, false
}

func lowerCall(l *lowerer, in *isa.Inst) bool {
	if isa.Rows[in.Row].Args[0] != isa.ArgRel {
		return l.indirect(in, l.pick(opCallr, opCallr32), l.pick(opCallm, opCallm32))
	}
	if !l.branchTo(in) {
		return false
	}
	l.put(in, op{code: l.pick(opCall, opCall32), imm: l.exit[0]})
	return true
}

func lowerRet(l *lowerer, in *isa.Inst) bool {
	if !l.near(in) {
		return false
	}
	o := op{code: l.pick(opRet, opRet32)}
	if isa.Rows[in.Row].Args[0] == isa.ArgImm {
		o.imm = int32(in.Imm & 0xffff)
	}
	l.put(in, o)
	l.done, l.exits = true, true
	return true
}

func lowerPush(l *lowerer, in *isa.Inst) bool {
	if !l.near(in) {
		return false
	}
	if in.Flags&isa.FlagMem != 0 {
		return l.pushMem(in)
	}
	switch isa.Rows[in.Row].Args[0] {
	case isa.ArgImm:
		l.put(in, op{code: l.pick(opPushi, opPushi32), imm: int32(in.Imm)})
	case isa.ArgRM:
		l.put(in, op{code: l.pick(opPush, opPush32), src: in.RM})
	case isa.ArgOpReg:
		l.put(in, op{code: l.pick(opPush, opPush32), src: in.Reg})
	default:
		return false
	}
	return true
}

// pushMem pushes a memory operand. Only 32-bit code does that often.
func (l *lowerer) pushMem(in *isa.Inst) bool {
	var o op
	if !l.flat || !l.mem(in, &o) {
		return false
	}
	l.put(in, op{code: opPushm32})
	return true
}

func lowerPop(l *lowerer, in *isa.Inst) bool {
	if !l.near(in) || in.Flags&isa.FlagMem != 0 {
		return false
	}
	switch isa.Rows[in.Row].Args[0] {
	case isa.ArgRM:
		l.put(in, op{code: l.pick(opPop, opPop32), dst: in.RM})
	case isa.ArgOpReg:
		l.put(in, op{code: l.pick(opPop, opPop32), dst: in.Reg})
	default:
		return false
	}
	return true
}

func lowerLeave(l *lowerer, in *isa.Inst) bool {
	if !l.near(in) {
		return false
	}
	l.put(in, op{code: l.pick(opLeave, opLeave32)})
	return true
}
