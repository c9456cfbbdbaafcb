// Package isa holds the x86 instruction table and what is generated from it:
// the decoder, the text form and the list of operations.
//
// The table, x86.tab, has one line per encoding in the columns of the manual's
// instruction pages [SDM 2 3.1.1]. It is the only place that knows encodings:
// engines, disassembly, coverage documents and test generators read it.
package isa

// Mode is the code segment's default operand and address size.
type Mode uint8

// The three decoding modes [SDM 1 3.1].
const (
	Mode16 Mode = iota // real mode, virtual 8086, CS.D=0
	Mode32             // CS.D=1, compatibility mode included
	Mode64             // CS.L=1 in long mode
)

// Register numbers of memory operands beyond the sixteen general ones. They
// index the engines' register file, where RegZero always holds 0.
const (
	RegRIP  = 16 // the operand is relative to the next instruction
	RegZero = 17 // no base or no index
)

// Segment registers in encoding order.
const (
	ES = iota
	CS
	SS
	DS
	FS
	GS
)

// Prefixes and facts of one decoded instruction.
const (
	FlagLock  = 1 << iota // F0, legal here: a memory destination of a lockable encoding
	FlagRep               // F3, where not part of the opcode
	FlagRepne             // F2, where not part of the opcode
	FlagMem               // the ModRM operand, or a moffs, is memory
	FlagRex               // a REX prefix is present: byte registers 4-7 are SPL..DIL
	FlagVexL              // VEX.L: 256-bit vectors
	FlagVexW              // VEX.W or REX.W
	FlagSegOv             // a segment override prefix is in force
)

// Inst is one decoded instruction. It holds no pointers.
type Inst struct {
	Row      uint16 // index into Rows: the encoding that matched
	Op       Op     // Rows[Row].Op: what it does
	Len      uint8  // bytes, 1 to 15
	Flags    uint8  // FlagLock...
	OpSize   uint8  // effective operand size: 2, 4 or 8 bytes (defaults of 64-bit mode applied)
	AddrSize uint8  // effective address size: 2, 4 or 8 bytes
	Seg      uint8  // segment of the memory operand, default or override (for string ops: of rSI)
	Cond     uint8  // condition number of Jcc, SETcc, CMOVcc (opcode bits 3:0)
	Reg      uint8  // ModRM.reg extended, or the register in the opcode (+r) extended
	RM       uint8  // ModRM.rm extended, when not FlagMem
	Vvvv     uint8  // VEX.vvvv, not inverted
	Base     uint8  // base register of the memory operand: 0-15, RegRIP, RegZero
	Index    uint8  // index register: 0-15 or RegZero
	Scale    uint8  // log2 of the index's factor
	Imm2     uint16 // second immediate: ENTER's level, the selector of a far pointer
	Disp     int32  // displacement, sign-extended
	Imm      uint64 // immediate, sign-extended as the encoding says; moffs; branch displacement; far offset
}

// Arg says what kind of thing one operand is.
type Arg uint8

// Operand kinds. Those that come from ModRM.rm may be memory.
const (
	ArgNone  Arg = iota
	ArgRM        // general register or memory by ModRM.rm
	ArgReg       // general register by ModRM.reg
	ArgOpReg     // general register by opcode bits 2:0
	ArgVvvv      // general register by VEX.vvvv
	ArgImm       // immediate (sign-extended in Inst.Imm where the encoding says so)
	ArgImm2      // second immediate
	ArgOne       // the constant 1 (shifts)
	ArgAcc       // AL, AX, EAX, RAX
	ArgCL
	ArgDX
	ArgMem   // memory by ModRM.rm; the register form is another encoding or #UD
	ArgMoffs // absolute address in Inst.Imm
	ArgRel   // branch displacement in Inst.Imm
	ArgFar   // pointer in the instruction: Inst.Imm2:Inst.Imm
	ArgSreg  // segment register by ModRM.reg, or fixed by the row (Row.Fixed)
	ArgCR    // control register by ModRM.reg
	ArgDR    // debug register by ModRM.reg
	ArgST    // x87 ST(i) by ModRM.rm
	ArgST0   // x87 ST(0)
	ArgMMReg // MMX register by ModRM.reg
	ArgMMRM  // MMX register or memory by ModRM.rm
	ArgXReg  // XMM/YMM register by ModRM.reg
	ArgXRM   // XMM/YMM register or memory by ModRM.rm
	ArgXVvvv // XMM/YMM register by VEX.vvvv
	ArgXIs4  // XMM/YMM register by imm8[7:4]
	ArgXmm0  // the implied XMM0
	ArgStrSI // memory at Seg:rSI
	ArgStrDI // memory at ES:rDI
)

// Size of an operand: a number of bytes, or a code that the instruction's
// operand size resolves.
type Size uint8

// Sizes that depend on the instruction; others are bytes (1, 2, 4, 8, 10, 16, 32, 64...).
const (
	SizeV Size = 0x80 + iota // OpSize: 2, 4, 8
	SizeZ                    // 2 or 4, as OpSize but at most 4
	SizeY                    // 4 or 8: 8 only with OpSize 8
	SizeX                    // vector length: 16, or 32 with VEX.L
)

// Row is one encoding of the table.
type Row struct {
	Op    Op
	Args  [4]Arg
	Sizes [4]Size
	Attrs Attr   // lock, privileged, modes, branch, string...
	CPUID uint8  // feature that must be present, an index into Features; 0 is none
	Fixed uint8  // number of a fixed register (PUSH FS: 4; INT3's vector...)
	FlagR uint16 // RFLAGS bits read (CF PF AF ZF SF OF, and DF IF...), as RFLAGS masks
	FlagW uint16 // RFLAGS bits written, undefined ones included
	Enc   string // the manual's encoding, for documents: "REX.W 83 /0 ib"
	Text  string // mnemonic in lower case: "add"
}

// Status is the result of decoding.
type Status uint8

// Decoding results.
const (
	OK        Status = iota
	Truncated        // more bytes are needed than were given
	Invalid          // no such encoding here: #UD
	TooLong          // more than 15 bytes: #GP(0) [SDM 2 2.3.11]
)
