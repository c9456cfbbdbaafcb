package isa

// attNames are the AT&T names of operations whose name depends on the operand
// size alone: 2, 4 and 8 bytes. "" is the manual's name.
var attNames = map[Op][3]string{
	CBW:     {"cbtw", "cwtl", "cltq"},
	CWD:     {"cwtd", "cltd", "cqto"},
	CALLFAR: {"lcallw", "lcall", "lcallq"},
	JMPFAR:  {"ljmpw", "ljmp", "ljmpq"},
	RETFAR:  {"lretw", "lret", "lretq"},
	IRET:    {"iretw", "iret", "iretq"},
	SYSRET:  {"sysretl", "sysretl", "sysretq"},
	SYSEXIT: {"sysexitl", "sysexitl", "sysexitq"},
	FWAIT:   {"fwait", "fwait", "fwait"},
	SALC:    {"salc", "salc", "salc"},
	INS:     {"insw", "insl", "insl"},
	OUTS:    {"outsw", "outsl", "outsl"},
	MOVS:    {"movsw", "movsl", "movsq"},
	CMPS:    {"cmpsw", "cmpsl", "cmpsq"},

	MOVFROMSEG: {"mov", "mov", "mov"},
	MOVTOSEG:   {"mov", "mov", "mov"},
	MOVFROMCR:  {"mov", "mov", "mov"},
	MOVTOCR:    {"mov", "mov", "mov"},
	MOVFROMDR:  {"mov", "mov", "mov"},
	MOVTODR:    {"mov", "mov", "mov"},
	UD0:        {"ud0", "ud0", "ud0"},
	PUSHF:      {"pushfw", "pushf", "pushf"},
	POPF:       {"popfw", "popf", "popf"},
	PUSHA:      {"pushaw", "pusha", "pusha"},
	POPA:       {"popaw", "popa", "popa"},
}

var sizeSuffix = [4]string{"b", "w", "l", "q"}

// mnemonic is the instruction's AT&T name.
func (p *printer) mnemonic() string {
	in := p.in
	switch in.Op {
	case JCC:
		return "j" + condName[in.Cond]
	case SETCC:
		return "set" + condName[in.Cond]
	case CMOVCC:
		return "cmov" + condName[in.Cond]
	case MOVZX:
		return "movz" + sizeSuffix[log2(in.ArgSize(1))] + sizeSuffix[log2(in.ArgSize(0))]
	case MOVSX, MOVSXD:
		if in.Op == MOVSXD && in.OpSize < 8 {
			return "movsxd"
		}
		return "movs" + sizeSuffix[log2(in.ArgSize(1))] + sizeSuffix[log2(in.ArgSize(0))]
	case JCXZ:
		return [4]string{"", "jcxz", "jecxz", "jrcxz"}[log2(int(in.AddrSize))]
	case CRC32:
		return "crc32" + sizeSuffix[log2(in.ArgSize(1))]
	case INS, OUTS, MOVS, CMPS:
		if in.ArgSize(0) == 1 || in.ArgSize(1) == 1 {
			return p.row.Text + "b"
		}
	case MOV:
		if p.row.Args[0] == ArgMoffs || p.row.Args[1] == ArgMoffs || in.ArgSize(1) == 8 && p.row.Args[1] == ArgImm {
			if in.AddrSize == 8 || in.ArgSize(1) == 8 {
				return "movabs"
			}
			return "mov"
		}
	}
	if n, ok := attNames[in.Op]; ok {
		return n[max(log2(int(in.OpSize)), 1)-1]
	}
	return p.attReverse() + p.suffix()
}

// attReverse is the row's name, with the historical mistake of AT&T assemblers
// that every later one keeps: with a destination other than %st, fsub and fsubr
// (fdiv and fdivr) are swapped [GAS i386-Bugs].
func (p *printer) attReverse() string {
	if p.row.Args[0] == ArgST {
		switch p.in.Op {
		case FSUB:
			return "fsubr"
		case FSUBR:
			return "fsub"
		case FDIV:
			return "fdivr"
		case FDIVR:
			return "fdiv"
		case FSUBP:
			return "fsubrp"
		case FSUBRP:
			return "fsubp"
		case FDIVP:
			return "fdivrp"
		case FDIVRP:
			return "fdivp"
		}
	}
	return p.row.Text
}

// suffix tells the size of a memory operand when no register does.
func (p *printer) suffix() string {
	in, row := p.in, p.row
	if row.Attrs&AttrRex64 != 0 && in.OpSize == 8 {
		return "64"
	}
	if in.Flags&FlagMem == 0 {
		return ""
	}
	if row.Attrs&AttrX87 != 0 {
		return p.suffix87()
	}
	switch in.Op {
	case CVTSI2SS, CVTSI2SD, VCVTSI2SS, VCVTSI2SD:
		return sizeSuffix[log2(int(in.OpSize))]
	case SETCC, CALL, JMP:
		return ""
	case NOP:
		return sizeSuffix[log2(int(in.OpSize))]
	case PUSH, POP:
		if in.OpSize == 8 {
			return ""
		}
	}
	size := -1
	for i, a := range row.Args {
		switch a {
		case ArgRM:
			if s := row.Sizes[i]; s >= SizeV || s == 1 {
				size = in.ArgSize(i)
			}
		case ArgNone, ArgImm, ArgImm2, ArgOne, ArgCL:
		default:
			return "" // a register tells
		}
	}
	if size < 0 {
		return ""
	}
	return sizeSuffix[log2(size)]
}

// suffix87 is the suffix of an x87 memory operand: s l t for single, double and
// extended reals, s l ll for integers of 2, 4 and 8 bytes.
func (p *printer) suffix87() string {
	switch p.in.Op {
	case FLDCW, FNSTCW, FNSTSW, FBLD, FBSTP, FLDENV, FNSTENV, FRSTOR, FNSAVE:
		return ""
	}
	size := p.in.ArgSize(0)
	if p.row.Text[1] == 'i' { // FI...: integers
		return map[int]string{2: "s", 4: "l", 8: "ll"}[size]
	}
	return map[int]string{4: "s", 8: "l", 10: "t"}[size]
}
