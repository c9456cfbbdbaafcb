package isa

// Attr are facts about an encoding that engines need before they execute it.
type Attr uint32

// Attributes of rows.
const (
	AttrLock     Attr = 1 << iota // F0 is legal when the destination is memory
	AttrCPL0                      // #GP(0) unless CPL is 0
	AttrBranch                    // changes rip
	AttrEnd                       // ends a block: may unmask an interrupt, or change mode, paging or decoding, or access a port
	AttrString                    // repeatable by F3 (and F2)
	AttrX87                       // uses x87 state: #NM with CR0.EM or CR0.TS
	AttrMMX                       // uses MMX state: #UD with CR0.EM, #NM with CR0.TS
	AttrSSE                       // uses SSE state: #UD with CR0.EM or without CR4.OSFXSR, #NM with CR0.TS
	AttrAVX                       // uses AVX state: #UD unless CR4.OSXSAVE and XCR0 allow it
	AttrNoReal                    // #UD in real and virtual-8086 mode
	AttrFallback                  // without its feature the row that Fallback gives acts instead
	AttrRex64                     // text: suffix 64 with REX.W
)

// Size codes beside those of the contract.
const (
	SizeFar  Size = SizeX + 1 + iota // far pointer: OpSize and a selector of 2 bytes
	SizeDesc                         // limit and base of a descriptor table: 2 + 4 bytes, 2 + 8 in 64-bit mode
	SizePair                         // twice OpSize: BOUND's limits
)

// RFLAGS bits of Row.FlagR and Row.FlagW [SDM 1 3.4.3].
const (
	FlagCF = 1 << 0
	FlagPF = 1 << 2
	FlagAF = 1 << 4
	FlagZF = 1 << 6
	FlagSF = 1 << 7
	FlagTF = 1 << 8
	FlagIF = 1 << 9
	FlagDF = 1 << 10
	FlagOF = 1 << 11
)

// String returns the operation's mnemonic in lower case.
func (o Op) String() string {
	if o < NumOps {
		return opNames[o]
	}
	return "bad"
}

// R returns the instruction's row.
func (in *Inst) R() *Row { return &Rows[in.Row] }

// ArgSize returns the size of operand i in bytes; 0 if it has none of its own
// (LEA's address, FXSAVE's image) or there is no such operand. Immediates have
// the size they are encoded in.
func (in *Inst) ArgSize(i int) int {
	s := Rows[in.Row].Sizes[i]
	if s < SizeV {
		return int(s)
	}
	op := int(in.OpSize)
	switch s {
	case SizeV:
		return op
	case SizeZ:
		return min(op, 4)
	case SizeY:
		return max(op, 4)
	case SizeX:
		if in.Flags&FlagVexL != 0 {
			return 32
		}
		return 16
	case SizeFar:
		return op + 2
	case SizeDesc:
		return max(op, 4) + 2
	default:
		return 2 * op
	}
}

// Fallback turns an instruction whose feature is missing into the one that acts
// on such processors, and reports whether there is one: TZCNT becomes BSF with
// an ignored F3 [SDM 2 TZCNT].
func (in *Inst) Fallback() bool {
	for _, f := range fallbacks {
		if f[0] == in.Row {
			in.Row, in.Op = f[1], Rows[f[1]].Op
			in.Flags |= FlagRep
			return true
		}
	}
	return false
}

// condFlags are the flags that conditions 0-15 read, two by two [SDM 1 B.1].
var condFlags = [8]uint16{FlagOF, FlagCF, FlagZF, FlagCF | FlagZF, FlagSF, FlagPF, FlagSF | FlagOF, FlagZF | FlagSF | FlagOF}

// FlagsRead returns the RFLAGS bits whose old value matters: the row's, less
// those that the condition or a known shift count exclude. A flag that may be
// kept, as by a shift by CL, counts as read.
func (in *Inst) FlagsRead() uint16 {
	r := &Rows[in.Row]
	switch in.Op {
	case JCC, SETCC, CMOVCC:
		return condFlags[in.Cond>>1]
	case ROL, ROR, SHL, SHR, SAR, RCL, RCR, SHLD, SHRD:
		mask := uint64(31)
		if in.OpSize == 8 && in.ArgSize(0) == 8 {
			mask = 63
		}
		if r.FlagR == 0 || !in.hasImm() || in.Imm&mask == 0 {
			return r.FlagR
		}
		if in.Op == RCL || in.Op == RCR {
			return FlagCF
		}
		return 0
	case CMPS, SCAS:
		if in.Flags&(FlagRep|FlagRepne) == 0 {
			return FlagDF
		}
	}
	return r.FlagR
}

func (in *Inst) hasImm() bool {
	for _, a := range Rows[in.Row].Args {
		if a == ArgImm {
			return true
		}
	}
	return false
}
