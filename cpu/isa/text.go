package isa

import (
	"strconv"
	"strings"
)

// Text returns the instruction in AT&T syntax, much as GNU objdump prints it;
// pc is its own address, from which branch targets and RIP-relative addresses
// are computed. Addresses and immediates are in hexadecimal.
func (in *Inst) Text(pc uint64) string {
	if in.Row == 0 {
		return "(bad)"
	}
	p := printer{in: in, row: in.R(), pc: pc}
	p.prefix()
	p.b.WriteString(p.mnemonic())
	p.operands()
	return p.b.String()
}

type printer struct {
	b   strings.Builder
	in  *Inst
	row *Row
	pc  uint64
}

func (p *printer) prefix() {
	f := p.in.Flags
	if f&FlagLock != 0 {
		p.b.WriteString("lock ")
	}
	compares := p.in.Op == CMPS || p.in.Op == SCAS
	switch {
	case f&FlagRepne != 0 && p.row.Attrs&AttrString != 0:
		p.b.WriteString("repnz ")
	case f&FlagRep == 0 || p.row.Attrs&AttrString == 0:
	case compares:
		p.b.WriteString("repz ")
	default:
		p.b.WriteString("rep ")
	}
}

// gpr names the general registers by size; index 3 is 8 bytes.
var gpr = [4][8]string{
	{"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"},
	{"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"},
	{"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"},
	{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"},
}

var (
	highByte = [4]string{"ah", "ch", "dh", "bh"}
	sregName = [8]string{"es", "cs", "ss", "ds", "fs", "gs", "?", "?"}
	condName = [16]string{"o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"}
)

// log2 of the operand sizes 1 to 8.
func log2(size int) int {
	switch {
	case size >= 8:
		return 3
	case size >= 4:
		return 2
	default:
		return size >> 1
	}
}

func (p *printer) gprName(r uint8, size int) string {
	if size == 1 && r >= 4 && r < 8 && p.in.Flags&FlagRex == 0 {
		return "%" + highByte[r-4]
	}
	if r < 8 {
		return "%" + gpr[log2(size)][r]
	}
	return "%r" + strconv.Itoa(int(r)) + [4]string{"b", "w", "d", ""}[log2(size)]
}

func hexNum(v uint64) string { return "0x" + strconv.FormatUint(v, 16) }

// operands appends the operands, the destination last.
func (p *printer) operands() {
	args := p.row.Args[:]
	for len(args) > 0 && args[len(args)-1] == ArgNone {
		args = args[:len(args)-1]
	}
	sep := " "
	for i := range args {
		j := len(args) - 1 - i
		if p.in.Op == ENTER || p.in.Op == BOUND {
			j = i
		}
		if p.hidden(j) {
			continue
		}
		p.b.WriteString(sep)
		p.b.WriteString(p.operand(j))
		sep = ","
	}
	if p.in.Op == XLAT {
		p.b.WriteString(" %" + sregName[p.in.Seg] + ":(" + p.addrReg(3) + ")")
	}
}

// hidden says whether AT&T syntax leaves operand i out.
func (p *printer) hidden(i int) bool {
	switch p.in.Op {
	case FADD, FMUL, FSUB, FSUBR, FDIV, FDIVR, FCMOVB, FCMOVE, FCMOVBE, FCMOVU, FCMOVNB, FCMOVNE, FCMOVNBE, FCMOVNU,
		FADDP, FMULP, FSUBP, FSUBRP, FDIVP, FDIVRP, FCOMI, FUCOMI, FCOMIP, FUCOMIP:
		return false
	case NOP:
		return i == 1 // the reg field of hint NOPs means nothing
	}
	return p.row.Args[i] == ArgST0
}

func (p *printer) operand(i int) string {
	in, size := p.in, p.in.ArgSize(i)
	switch p.row.Args[i] {
	case ArgRM:
		return p.star() + p.rm(p.gprName(in.RM, size))
	case ArgMem:
		return p.star() + p.mem()
	case ArgXRM:
		return p.rm(vecName(in.RM, size))
	case ArgMMRM:
		return p.rm("%mm" + strconv.Itoa(int(in.RM)))
	case ArgReg, ArgOpReg:
		return p.gprName(in.Reg, size)
	case ArgVvvv:
		return p.gprName(in.Vvvv, size)
	case ArgAcc:
		return p.gprName(0, size)
	case ArgXReg:
		return vecName(in.Reg, size)
	case ArgXVvvv:
		return vecName(in.Vvvv, size)
	case ArgXIs4:
		return vecName(uint8(in.Imm>>4&15), size)
	case ArgMMReg:
		return "%mm" + strconv.Itoa(int(in.Reg))
	case ArgST:
		return "%st(" + strconv.Itoa(int(in.RM)) + ")"
	}
	return p.otherOperand(i)
}

func (p *printer) otherOperand(i int) string {
	in := p.in
	switch p.row.Args[i] {
	case ArgImm:
		return "$" + hexNum(in.Imm&p.immMask())
	case ArgImm2:
		return "$" + hexNum(uint64(in.Imm2))
	case ArgOne:
		return "$0x1"
	case ArgCL:
		return "%cl"
	case ArgDX:
		return "(%dx)"
	case ArgMoffs:
		return p.override() + hexNum(in.Imm)
	case ArgRel:
		return hexNum(p.target())
	case ArgFar:
		return "$" + hexNum(uint64(in.Imm2)) + ",$" + hexNum(in.Imm)
	case ArgSreg:
		if p.in.Op == PUSH || p.in.Op == POP {
			return "%" + sregName[p.row.Fixed]
		}
		return "%" + sregName[in.Reg]
	case ArgCR:
		return "%cr" + strconv.Itoa(int(in.Reg))
	case ArgDR:
		return "%dr" + strconv.Itoa(int(in.Reg))
	case ArgST0:
		return "%st"
	case ArgXmm0:
		return "%xmm0"
	case ArgStrSI:
		return "%" + sregName[in.Seg] + ":(" + p.addrReg(6) + ")"
	case ArgStrDI:
		return "%es:(" + p.addrReg(7) + ")"
	}
	return "?"
}

func vecName(r uint8, size int) string {
	if size == 32 {
		return "%ymm" + strconv.Itoa(int(r))
	}
	return "%xmm" + strconv.Itoa(int(r))
}

// star marks an indirect branch.
func (p *printer) star() string {
	switch p.in.Op {
	case CALL, JMP, CALLFAR, JMPFAR:
		return "*"
	}
	return ""
}

// rm is the ModRM.rm operand: the register named, or memory.
func (p *printer) rm(reg string) string {
	if p.in.Flags&FlagMem == 0 {
		return reg
	}
	return p.mem()
}

// target is where a relative branch goes [SDM 2 JMP].
func (p *printer) target() uint64 {
	t := p.pc + uint64(p.in.Len) + p.in.Imm
	switch p.in.OpSize {
	case 2:
		return t & 0xffff
	case 4:
		return t & 0xffffffff
	}
	return t
}

// immMask cuts a sign-extended immediate to what it is used as.
func (p *printer) immMask() uint64 {
	size := p.in.ArgSize(0)
	switch p.row.Args[0] {
	case ArgImm, ArgDX: // PUSH, INT, OUT
		size = int(p.in.OpSize)
	case ArgXReg, ArgXRM, ArgXVvvv, ArgMMReg, ArgMMRM:
		size = 1
	}
	switch size {
	case 1:
		return 0xff
	case 2:
		return 0xffff
	case 4:
		return 0xffffffff
	}
	return ^uint64(0)
}

func (p *printer) override() string {
	if p.in.Flags&FlagSegOv == 0 {
		return ""
	}
	return "%" + sregName[p.in.Seg] + ":"
}

// addrReg names a register of an address.
func (p *printer) addrReg(r uint8) string {
	if r == RegRIP {
		if p.in.AddrSize == 4 {
			return "%eip"
		}
		return "%rip"
	}
	if r < 8 {
		return "%" + gpr[log2(int(p.in.AddrSize))][r]
	}
	return p.gprName(r, int(p.in.AddrSize))
}

// mem is the memory operand: seg:disp(base,index,scale).
func (p *printer) mem() string {
	in := p.in
	s := p.override()
	if in.Base == RegZero && in.Index == RegZero {
		return s + hexNum(p.absolute())
	}
	switch d := int64(in.Disp); {
	case d < 0:
		s += "-" + hexNum(uint64(-d))
	case d > 0 || in.Base == RegZero:
		s += hexNum(uint64(d))
	}
	s += "("
	if in.Base != RegZero {
		s += p.addrReg(in.Base)
	}
	if in.Index != RegZero {
		s += "," + p.indexName()
		if in.AddrSize != 2 {
			s += "," + strconv.Itoa(1<<in.Scale)
		}
	}
	return s + ")"
}

// absolute is the address of an operand that is a displacement only.
func (p *printer) absolute() uint64 {
	a := uint64(int64(p.in.Disp))
	if p.in.AddrSize == 8 {
		return a
	}
	return a & (1<<(8*uint(p.in.AddrSize)) - 1)
}

func (p *printer) indexName() string {
	if forms[p.in.Row].bits&formVSIB == 0 {
		return p.addrReg(p.in.Index)
	}
	size := 16
	if forms[p.in.Row].bits&formVSIB256 != 0 {
		size = 32
	}
	return vecName(p.in.Index, size)
}
