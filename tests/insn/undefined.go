package insn

import "godwit/cpu/isa"

// RFLAGS bits.
const (
	cf = 1 << 0
	pf = 1 << 2
	af = 1 << 4
	zf = 1 << 6
	sf = 1 << 7
	of = 1 << 11

	allFlags = cf | pf | af | zf | sf | of
)

// undefinedFlags are the flags that the manual leaves undefined [SDM 2].
var undefinedFlags = map[isa.Op]uint64{
	isa.AND: af, isa.OR: af, isa.XOR: af, isa.TEST: af,
	isa.MUL: sf | zf | af | pf, isa.IMUL: sf | zf | af | pf, isa.MULX: 0,
	isa.DIV: allFlags, isa.IDIV: allFlags,
	isa.BSF: allFlags &^ zf, isa.BSR: allFlags &^ zf, isa.TZCNT: of | sf | pf | af, isa.LZCNT: of | sf | pf | af,
	isa.BT: of | sf | af | pf, isa.BTS: of | sf | af | pf, isa.BTR: of | sf | af | pf, isa.BTC: of | sf | af | pf,
	isa.BEXTR: af | sf | pf, isa.BLSI: af | pf, isa.BLSR: af | pf, isa.BLSMSK: af | pf, isa.BZHI: af | pf, isa.ANDN: af | pf,
}

// undefined tells which flags an instruction leaves undefined, and whether its
// destination is.
func undefined(v *Vector) (flags uint64, destination bool) {
	var in isa.Inst
	if isa.Decode(v.Code, isa.Mode64, &in) != isa.OK {
		return 0, false
	}
	s, _ := v.Input()
	switch in.Op {
	case isa.SHL, isa.SHR, isa.SAR, isa.ROL, isa.ROR, isa.RCL, isa.RCR:
		return undefinedShift(&in, shiftCount(&in, 1, &s)), false
	case isa.SHLD, isa.SHRD:
		n := shiftCount(&in, 2, &s)
		switch {
		case n > 8*uint64(in.OpSize):
			return allFlags, true
		case n > 1:
			return af | of, false
		}
		return af * n, false
	case isa.BSF, isa.BSR:
		return undefinedFlags[in.Op], v.Out.Flags&zf != 0
	case isa.BSWAP:
		return 0, in.OpSize == 2
	}
	return undefinedFlags[in.Op], false
}

// shiftCount is the masked count, which is operand i.
func shiftCount(in *isa.Inst, i int, s *State) uint64 {
	n := uint64(1)
	switch isa.Rows[in.Row].Args[i] {
	case isa.ArgImm:
		n = in.Imm
	case isa.ArgCL:
		n = s.R[1]
	}
	if in.ArgSize(0) == 8 {
		return n & 63
	}
	return n & 31
}

func undefinedShift(in *isa.Inst, n uint64) (f uint64) {
	if n > 1 {
		f = of
	}
	if n == 0 || in.Op == isa.ROL || in.Op == isa.ROR || in.Op == isa.RCL || in.Op == isa.RCR {
		return f
	}
	if n >= 8*uint64(in.ArgSize(0)) && in.Op != isa.SAR {
		f |= cf
	}
	return f | af
}
